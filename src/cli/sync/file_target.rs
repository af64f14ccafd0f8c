//! The target that is a credential file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::auth_entries::AuthEntries;
use super::auth_file::{AuthFile, Written};
use super::hook::Hook;
use super::target::{Problem, Target, Update, summary};
use crate::exit_code::Exit;
use crate::moment::Moment;

/// A credential file, and the command to run after its changes.
pub(super) struct FileTarget {
    file: AuthFile,
    hook: Option<Hook>,
}

impl FileTarget {
    /// Loads the entries of an earlier sync, and removes those that have expired. Fails if the file cannot be written.
    pub(super) fn open(
        path: PathBuf,
        requested: BTreeSet<String>,
        merge: bool,
        now: Moment,
    ) -> Result<(Self, AuthEntries, Update), String> {
        let mut file = AuthFile::open(path, requested, merge)?;
        let mut entries = file.load(now)?;
        entries.remove_expired(now);
        let mut target = Self { file, hook: None };
        let update = target.write(&entries, now)?;
        Ok((target, entries, update))
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Runs the command after each change, and at once if the file exists: an earlier sync may have been killed between its change and
    /// its hook.
    pub(super) fn start_hook(&mut self, command: String) -> std::io::Result<()> {
        let hook = Hook::start(command, self.path().to_owned())?;
        if self.path().exists() {
            hook.trigger();
        }
        self.hook = Some(hook);
        Ok(())
    }

    fn write(&mut self, entries: &AuthEntries, now: Moment) -> Result<Update, String> {
        let Written { changed, foreign } = self.file.write(entries)?;
        if let (true, Some(hook)) = (changed, &self.hook) {
            hook.trigger();
        }
        let line = || summary(self.name(), entries.iter().count(), entries.next_expiry(now));
        let changes = changed.then(line).into_iter().collect();
        let problems = foreign.iter().map(|host| self.foreign(host)).collect();
        Ok(Update { changes, problems, ..Update::default() })
    }

    fn foreign(&self, host: &str) -> Problem {
        let file = self.name();
        let text = format!("{file}: the entry for {host} is not sync's, and stays; remove it (docker logout {host})");
        Problem { subject: format!("{file} {host}"), text, exit: Exit::Failure }
    }
}

impl Target for FileTarget {
    async fn update(&mut self, entries: &AuthEntries, now: Moment) -> Update {
        self.write(entries, now).unwrap_or_else(|text| {
            let problem = Problem { subject: self.name(), text, exit: Exit::Failure };
            Update { problems: vec![problem], ..Update::default() }
        })
    }

    fn name(&self) -> String {
        self.path().display().to_string()
    }
}
