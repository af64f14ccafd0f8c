//! `man`: manual pages of the commands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::exit_code::Exit;
use crate::terminal::{print_error, print_line};

#[cfg(feature = "client")]
mod docker_helper;

const EXAMPLES: &str = "\
Examples:
  ecr-broker man | man -l -
  ecr-broker man config check | man -l -
  ecr-broker man docker-credential-ecr-broker | man -l -
  ecr-broker man --directory /usr/share/man/man1

Exit codes: 0 printed or written, 1 the directory cannot be written, 2 unknown command";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Command of the page, such as config check; default: the program
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
    /// Write the pages of all commands and of docker's helper into this directory
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    directory: Option<PathBuf>,
}

pub(super) fn run(args: &Args, program: Command) -> anyhow::Result<ExitCode> {
    let mut program = program.disable_help_subcommand(true);
    // Gives the commands their names with those before them.
    program.build();
    if let Some(directory) = &args.directory {
        write_all(&program, directory)?;
        others().iter().try_for_each(|(command, variables)| write(command, Some(variables), directory))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some((other, variables)) = others().into_iter().find(|(other, _)| args.command == [other.get_name()]) {
        print_line(page(&other, Some(&variables))?.trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let found = args.command.iter().try_fold(&program, |command, name| command.find_subcommand(name).ok_or(name));
    match found {
        Ok(command) => {
            print_line(page(command, None)?.trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(name) => {
            print_error(format_args!("unknown command {name:?}; see ecr-broker --help"));
            Ok(Exit::Usage.into())
        }
    }
}

/// Returns the command lines of the other programs, each with the section of its variables.
fn others() -> Vec<(Command, Roff)> {
    [
        #[cfg(feature = "client")]
        docker_helper::page(),
    ]
    .into()
}

fn write_all(command: &Command, directory: &Path) -> anyhow::Result<()> {
    write(command, None, directory)?;
    command.get_subcommands().try_for_each(|below| write_all(below, directory))
}

fn write(command: &Command, variables: Option<&Roff>, directory: &Path) -> anyhow::Result<()> {
    let path = directory.join(file_name(command));
    fs::write(&path, page(command, variables)?).with_context(|| format!("cannot write {}", path.display()))
}

fn file_name(command: &Command) -> String {
    Man::new(command.clone()).get_filename()
}

fn page(command: &Command, variables: Option<&Roff>) -> anyhow::Result<String> {
    let man = Man::new(command.clone()).manual("ecr-broker manual");
    let man = man.source(concat!("ecr-broker ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(variables) = variables {
        variables.to_writer(&mut page)?;
    }
    let notes = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    notes.split("\n\n").filter(|notes| !notes.is_empty()).try_for_each(|notes| section(notes).to_writer(&mut page))?;
    Ok(String::from_utf8(page)?)
}

/// Returns a paragraph of the long help as a section. Several lines stay lines.
fn section(notes: &str) -> Roff {
    let (heading, text) = notes.split_once(':').unwrap_or(("Notes", notes));
    let mut roff = Roff::new();
    let text = text.trim_start_matches('\n');
    roff.control("SH", [heading.to_uppercase().as_str()]);
    if text.lines().count() < 2 {
        roff.text([roman(text.trim_start())]);
        return roff;
    }
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    roff.control("fi", []);
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_keeps_the_lines_of_examples() {
        let command =
            Command::new("x").about("Do it").after_long_help("Examples:\n  x a\n  .x b\n\nExit codes: 0 done");
        let page = page(&command, None).unwrap();
        assert!(page.contains(".SH EXAMPLES\n.nf\nx a\n\\&.x b\n.fi\n"), "{page}");
        assert!(page.contains(".SH \"EXIT CODES\"\n0 done\n"), "{page}");
    }
}
