//! The logs to read: those of the configuration, if the command line names none.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail};

use crate::audit::live::LONGEST_VALIDITY;
use crate::audit::reader::Extent;
use crate::audit::{Output, Settings};
use crate::terminal::print_error;

const STREAM: &str =
    "audit.output is a stream; pass what was kept of it: journalctl -u ecr-broker -o cat | ecr-broker audit live -";

/// Returns the configured log and those of its rotated files that can have credentials valid at `at`.
pub(super) fn configured(settings: Option<&Settings>, at: SystemTime) -> anyhow::Result<Vec<PathBuf>> {
    match settings.map(|settings| &settings.output) {
        Some(Output::File(log)) => {
            let since = at.checked_sub(LONGEST_VALIDITY * 2);
            rotated(log, since).with_context(|| format!("cannot read {}", log.display()))
        }
        Some(Output::Stderr | Output::Stdout) => bail!(STREAM),
        None => bail!("audit.output is not set; name the files of the audit log, or - for stdin"),
    }
}

/// Returns the configured log and all its rotated files: an expired password may be found, too.
pub(super) fn all_configured(settings: Option<&Settings>) -> anyhow::Result<Vec<PathBuf>> {
    match settings.map(|settings| &settings.output) {
        Some(Output::File(log)) => rotated(log, None).with_context(|| format!("cannot read {}", log.display())),
        Some(Output::Stderr | Output::Stdout) => bail!("audit.output is a stream; name files with what was kept of it"),
        None => bail!("audit.output is not set; name the files of the audit log"),
    }
}

/// Returns the files whose names begin with the log's. A file that ended before `since` is passed over.
fn rotated(log: &Path, since: Option<SystemTime>) -> anyhow::Result<Vec<PathBuf>> {
    let (Some(directory), Some(name)) = (log.parent(), log.file_name()) else { bail!("the path names no file") };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let rest = path.file_name().and_then(|file| file.as_encoded_bytes().strip_prefix(name.as_encoded_bytes()));
        let is_log = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b".") || rest.starts_with(b"-"));
        if !is_log {
            continue;
        }
        let metadata = fs::metadata(&path).with_context(|| path.display().to_string())?;
        if metadata.is_file() && since.is_none_or(|since| metadata.modified().is_ok_and(|end| end >= since)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Returns why the logs give no answer.
pub(in crate::cli) fn without_records(read: &Extent, logs: &[PathBuf]) -> String {
    let names: Vec<_> = logs.iter().map(|log| log.display().to_string()).collect();
    let names = if names.is_empty() { "the file of audit.output".to_owned() } else { names.join(", ") };
    match read.damaged {
        0 => format!("no audit records in {names}; name the file of audit.output"),
        damaged => format!("no audit records in {names}, except {damaged} damaged ones; name the file of audit.output"),
    }
}

/// Names the damaged records on stderr.
pub(in crate::cli) fn print_damaged(read: &Extent) {
    read.damaged_places.iter().for_each(|place| print_error(format_args!("damaged audit record: {place}")));
    let unnamed = read.damaged - read.damaged_places.len() as u64;
    if unnamed > 0 {
        print_error(format_args!("damaged audit records: {unnamed} more"));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::audit::OnFailure;

    #[test]
    fn rotated_files_of_the_last_day_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let names = ["audit.jsonl", "audit.jsonl-20261130.gz", "audit.jsonl.1"];
        for name in names.iter().chain(&["audit.jsonlines", "other", "audit.jsonl.9"]) {
            fs::write(path(name), "").unwrap();
        }
        fs::create_dir(path("audit.jsonl.old")).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365);
        let old = fs::File::options().write(true).open(path("audit.jsonl.9")).unwrap();
        old.set_modified(now - Duration::from_hours(25)).unwrap();
        let settings =
            Settings { output: Output::File(path("audit.jsonl")), reserve: 0, on_failure: OnFailure::default() };
        assert_eq!(configured(Some(&settings), now).unwrap(), names.map(path));
        assert_eq!(configured(Some(&settings), now - Duration::from_hours(2)).unwrap().len(), 4);
        assert_eq!(all_configured(Some(&settings)).unwrap().len(), 4);
    }
}
