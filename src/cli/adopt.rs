//! `adopt`: the switch-over from another credential helper.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;

use crate::adoption::{ReportFile, Summary, read_records};
use crate::exit_code::Exit;
use crate::terminal::{Format, print_line};

mod text;

const EXAMPLES: &str = "\
Examples:
  ecr-broker adopt report
  ecr-broker adopt report -o json reports/*.jsonl

Exit codes: 0 no request would be lost, 1 some would, or nothing was recorded";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Report what the broker answered in shadow and canary mode
    ///
    /// Shows how many requests would succeed, which callers lack which grant, and the latency that the broker adds. The helpers of
    /// this user write the records to ecr-broker/adoption.jsonl in the user's state directory, by default ~/.local/state.
    #[command(after_long_help = EXAMPLES)]
    Report {
        /// Output format
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
        /// Reports of other hosts or users, instead of this user's
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Command::Report { output, files } = &args.command;
    let mut summary = Summary::default();
    if files.is_empty() {
        let Some(path) = ReportFile::path() else {
            bail!("no state directory: HOME and XDG_STATE_HOME are not set; name a FILE");
        };
        let read = if path.exists() { ReportFile::open(&path).and_then(|file| file.read()) } else { Ok(String::new()) };
        summary.add_lines(&read.map_err(anyhow::Error::msg)?);
    }
    for file in files {
        summary.add_lines(&read_records(file).map_err(anyhow::Error::msg)?);
    }
    let is_own = files.is_empty();
    match output {
        Format::Json => print_line(text::json(&mut summary, is_own))?,
        Format::Text => text::lines(&mut summary, is_own).iter().try_for_each(print_line)?,
    }
    let is_ready = summary.asked() > 0 && summary.lost() == 0;
    Ok(if is_ready { Exit::Success } else { Exit::Failure }.into())
}
