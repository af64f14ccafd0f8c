//! The report's file, in the user's state directory: lines that helpers append, and one older file.
//!
//! A helper of root must not write where another user leads it: the way to the file is checked as that of docker's files is.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::bounded_file;
use crate::json_file::{Target, write_problem};

#[cfg_attr(unix, path = "file/unix.rs")]
#[cfg_attr(windows, path = "file/windows.rs")]
mod system;

/// Size at which the file becomes the older one: about 15,000 records.
const MAX_BYTES: u64 = 4 << 20;
/// Longest file that is read: reports of many hosts may be joined.
const MAX_READ: u64 = 256 << 20;
/// Questions of one user at a time. A broker that hangs must not fill the host with processes.
const MAX_QUESTIONS: usize = 8;
/// The file below the user's state directory.
const FILE: &str = "ecr-broker/adoption.jsonl";

/// The report's file, whose directory is open.
#[derive(Debug)]
pub struct ReportFile(Target);

/// The right to ask, until it is dropped or the process ends.
#[derive(Debug)]
pub struct QuestionSlot(fs::File);

impl ReportFile {
    /// Returns the path of the user's file: below `$XDG_STATE_HOME`, else `$HOME/.local/state`; on Windows below `%LOCALAPPDATA%`. None
    /// without them. Services of root have no `$HOME`, and count as root's own. A home of another user, as after `sudo`, is not used.
    #[must_use]
    pub fn path() -> Option<PathBuf> {
        system::state_directory().map(|directory| directory.join(FILE))
    }

    /// Opens the directory of a file, and creates it if it is missing.
    ///
    /// # Errors
    /// Returns an error if another user could redirect the file.
    pub fn open(path: &Path) -> Result<Self, String> {
        Ok(Self(Target::of(path)?.opened()?))
    }

    /// Returns the right to ask the broker; none while too many questions are open.
    #[must_use]
    pub fn question_slot(&self) -> Option<QuestionSlot> {
        let lock = |slot: usize| self.0.companion(&format!("slot{slot}")).open_lock().ok();
        let free = (0..MAX_QUESTIONS).filter_map(lock).find(|file| file.try_lock().is_ok());
        free.map(QuestionSlot)
    }

    /// Appends a line. Waits for other helpers that write.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn append(&self, line: &str) -> Result<(), String> {
        let problem = |error: &std::io::Error| write_problem(self.0.path(), error);
        let lock = self.0.companion("lock").open_lock()?;
        lock.lock().map_err(|error| problem(&error))?;
        let mut file = self.0.open_append()?;
        let length = file.metadata().map_err(|error| problem(&error))?.len();
        if length + line.len() as u64 > MAX_BYTES {
            self.0.rename_to(&self.0.companion("1")).map_err(|error| problem(&error))?;
            file = self.0.open_append()?;
        }
        file.write_all(line.as_bytes()).map_err(|error| problem(&error))
    }

    /// Returns the texts of the older file and of this one, which may be missing.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read.
    pub fn read(&self) -> Result<String, String> {
        let mut all = String::new();
        for target in [&self.0.companion("1"), &self.0] {
            if let Some((file, _)) = target.open()? {
                let text = bounded_file::read_text_of(file, MAX_READ);
                all += &text.map_err(|error| format!("{}: {error}", target.path().display()))?;
            }
        }
        Ok(all)
    }
}

impl QuestionSlot {
    /// Frees the slot.
    pub fn free(self) {
        drop(self.0);
    }
}

/// Reads the records of a file that the user names.
///
/// # Errors
/// Returns an error if the file cannot be read.
pub fn read_records(path: &Path) -> Result<String, String> {
    bounded_file::read_text(path, MAX_READ).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn report(directory: &Path) -> PathBuf {
        fs::canonicalize(directory).unwrap().join("state/ecr-broker/adoption.jsonl")
    }

    #[test]
    fn report_is_private_and_bounded_by_one_older_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = report(directory.path());
        let file = ReportFile::open(&path).unwrap();
        let line = format!("{}\n", "x".repeat((1 << 20) - 1));
        for _ in 0..11 {
            file.append(&line).unwrap();
        }
        let length = |path: &Path| fs::metadata(path).unwrap().len() >> 20;
        assert_eq!((length(&path), length(&path.with_extension("jsonl.1"))), (3, 4));
        assert_eq!(file.read().unwrap().len() as u64 >> 20, 7);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn lines_of_concurrent_helpers_are_whole_across_a_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let path = report(directory.path());
        let line = |writer: usize| format!("{writer}{}\n", "y".repeat(20_000));
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    (0..40).for_each(|_| ReportFile::open(path).unwrap().append(&line(writer)).unwrap());
                });
            }
        });
        let text = ReportFile::open(&path).unwrap().read().unwrap();
        assert_eq!(text.lines().count(), 8 * 40);
        for writer in 0..8 {
            assert_eq!(text.lines().filter(|one| *one == line(writer).trim()).count(), 40);
        }
    }

    #[test]
    fn links_and_special_files_are_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = report(directory.path());
        let file = ReportFile::open(&path).unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "text").unwrap();
        symlink(&victim, &path).unwrap();
        assert!(file.append("line\n").is_err());
        fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert!(file.append("line\n").is_err());
        assert_eq!(fs::read_to_string(victim).unwrap(), "text");
    }

    #[test]
    fn questions_have_eight_slots() {
        let directory = tempfile::tempdir().unwrap();
        let path = report(directory.path());
        let file = ReportFile::open(&path).unwrap();
        let mut held: Vec<_> = (0..8).map(|_| ReportFile::open(&path).unwrap().question_slot().unwrap()).collect();
        assert!(file.question_slot().is_none());
        held.pop().unwrap().free();
        assert!(file.question_slot().is_some());
    }
}
