//! `policy tighten`: tighter grants and profiles from an audit log, and CloudTrail.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;

use self::answer::{Answer, MAX_SESSIONS, Used};
use crate::audit::reader::Extent;
use crate::cli::audit::{print_damaged, without_records};
use crate::config::Config;
use crate::terminal::{Format, print_error, print_line};

mod answer;
mod cloudtrail;
mod text;

/// Prints tighter grants and profiles. A log without audit records is a failure: it would look like one without use.
pub(super) fn run(
    config: &Config,
    logs: &[PathBuf],
    cloudtrail: &[PathBuf],
    format: Format,
) -> anyhow::Result<ExitCode> {
    ensure!(!config.policy.is_open(), "no grants are configured; write some with policy suggest first");
    let mut used = Used::default();
    let read = Extent::read(logs, |record| used.add(record, config))?;
    print_damaged(&read);
    if read.records == 0 {
        print_error(without_records(&read, logs));
        return Ok(ExitCode::FAILURE);
    }
    ensure!(used.sessions.len() < MAX_SESSIONS, "more than {MAX_SESSIONS} sessions; name fewer audit logs");
    for file in cloudtrail {
        used.events.files += 1;
        cloudtrail::read(file, |event| used.add_event(&event))?;
    }
    let answer = Answer::new(config, read, used);
    match format {
        Format::Json => print_line(text::as_json(&answer)?)?,
        Format::Text => print_line(text::as_text(&answer))?,
    }
    Ok(ExitCode::SUCCESS)
}
