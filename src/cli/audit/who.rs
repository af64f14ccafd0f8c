//! `audit who`: from a password that leaked to its holders, and to the statements that end its session.

use std::io::{IsTerminal as _, Read as _, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, bail, ensure};
use zeroize::Zeroizing;

use self::answer::Answer;
use super::logs::{all_configured, print_damaged, without_records};
use crate::audit::index::{IndexedLogs, Place};
use crate::cli::config::{File, report};
use crate::config::Config;
use crate::credential::passwords_in;
use crate::terminal::{Format, print_error, print_line};

mod answer;
mod text;

/// Longest input: a password has 5 KB, and a docker configuration a hundred of them.
const MAX_INPUT: u64 = 1 << 20;
/// Length from which an argument that names no file is not repeated: it may be a password.
const LONG_ARGUMENT: usize = 200;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    logs: Logs,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// The logs, and where their indexes are.
#[derive(Debug, clap::Args)]
pub(super) struct Logs {
    #[command(flatten)]
    file: File,
    /// Directory of the indexes; default: beside each log
    #[arg(long, value_name = "DIR", conflicts_with = "no_index")]
    index: Option<PathBuf>,
    /// Read the logs from the start, and keep no index
    #[arg(long)]
    no_index: bool,
    /// Audit logs, also gzipped; default: the file of audit.output and its rotated ones
    #[arg(value_name = "AUDIT")]
    named: Vec<PathBuf>,
}

pub(super) fn run(args: &Args, now: SystemTime) -> anyhow::Result<ExitCode> {
    let Some(config) = args.logs.config() else { return Ok(ExitCode::FAILURE) };
    let leaked = passwords_in(&read_input()?);
    let logs = args.logs.open(&config)?;
    let answer = Answer::new(leaked, logs, &config, now)?;
    match args.output {
        Format::Json => print_line(text::as_json(&answer))?,
        Format::Text => print_line(text::as_text(&answer))?,
    }
    Ok(if answer.found.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// `audit index`: reads what the indexes lack.
pub(super) fn index(args: &Logs) -> anyhow::Result<ExitCode> {
    ensure!(!args.no_index, "--no-index keeps no index; remove it");
    let Some(config) = args.config() else { return Ok(ExitCode::FAILURE) };
    let logs = args.open(&config)?;
    print_line(text::extent(&logs))?;
    Ok(if logs.unkept.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the password or login. It comes from stdin only: other users see the arguments of a process.
fn read_input() -> anyhow::Result<Zeroizing<String>> {
    let input = stdin().lock();
    if input.is_terminal() {
        bail!("stdin is a terminal, which shows a password and cuts it at 4095 bytes; pipe it: audit who <FILE");
    }
    // With room for all: a text that grows leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_INPUT).unwrap_or_default() + 1));
    input.take(MAX_INPUT + 1).read_to_end(&mut text).context("cannot read stdin")?;
    ensure!(text.len() as u64 <= MAX_INPUT, "stdin has more than 1 MiB; pass the lines around the password only");
    let text = Zeroizing::new(String::from_utf8_lossy(&text).into_owned());
    ensure!(!text.trim().is_empty(), "stdin is empty; pipe the password or its login");
    Ok(text)
}

impl Logs {
    /// Returns the configuration; `None`: it has problems, which were printed.
    fn config(&self) -> Option<Config> {
        Config::load(&self.file.sources()).map_err(|diagnostics| report(Err(diagnostics))).ok()
    }

    /// Reads the logs. None with a record is a failure: it would look like a password without holders.
    fn open(&self, config: &Config) -> anyhow::Result<IndexedLogs> {
        let is_configured = self.named.is_empty();
        let names = if is_configured { all_configured(config.audit.as_ref())? } else { self.named.clone() };
        names.iter().enumerate().try_for_each(|(at, name)| check_argument(at + 1, name))?;
        let logs = IndexedLogs::open(&names, &self.place())?;
        // A directory of indexes may have those of other brokers' logs.
        if is_configured && self.index.is_none() {
            logs.remove_others();
        }
        print_damaged(&logs.extent);
        logs.unkept.iter().for_each(print_error);
        ensure!(logs.extent.records > 0, "{}", without_records(&logs.extent, &names));
        Ok(logs)
    }

    fn place(&self) -> Place {
        match &self.index {
            Some(directory) => Place::Directory(directory.clone()),
            None if self.no_index => Place::Nowhere,
            None => Place::Beside,
        }
    }
}

/// Refuses arguments that are not logs, without repeating a password.
fn check_argument(number: usize, name: &Path) -> anyhow::Result<()> {
    ensure!(name.as_os_str() != "-", "stdin has the password; name the files of the audit log");
    if name.as_os_str().len() >= LONG_ARGUMENT && !name.exists() {
        bail!("argument {number} does not name a file; pass a password on stdin only, never as an argument");
    }
    Ok(())
}
