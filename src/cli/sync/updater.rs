//! Keeps the entries of the file equal to the events of a watch.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::sleep;

use super::auth_entries::AuthEntries;
use super::auth_file::{AuthFile, Written};
use super::failure_notes::FailureNotes;
use super::hook::{self, Hook};
use crate::cli::fetch::{Fetched, fetch, fetch_granted};
use crate::client::{Failure, Query, Settings, Watch, WatchEvent};
use crate::clock::{Clock as _, SystemClock};
use crate::exit_code::Exit;
use crate::signal::Signals;
use crate::terminal::{print_error, print_line};
use crate::time_text::short;

/// The most time between two checks: the clock may be set, and the file may be deleted.
const INTERVAL: Duration = Duration::from_secs(30);

/// The subject of failures that concern all registries.
const CONNECTION: &str = "";

/// A file and the entries that belong into it.
pub(super) struct Updater {
    file: AuthFile,
    entries: AuthEntries,
    /// Hosts whose entries have expired since the last event.
    expired: BTreeSet<String>,
    /// Whether the watch has sent an event for every registry. Until then entries may be missing here.
    has_snapshot: bool,
    /// The number of registries that the broker rejects as invalid, and the first such failure.
    rejections: usize,
    first_rejection: Option<Failure>,
    has_changed: bool,
    /// Hosts whose entries are not sync's. Each is printed once.
    foreign: BTreeSet<String>,
    failures: FailureNotes,
    hook: Option<Hook>,
    clock: SystemClock,
}

impl Updater {
    /// Loads the entries of an earlier sync, and removes those that have expired.
    pub(super) fn new(mut file: AuthFile) -> Result<Self, String> {
        let clock = SystemClock::new();
        let entries = file.load(clock.now())?;
        let mut updater = Self {
            file,
            entries,
            expired: BTreeSet::new(),
            has_snapshot: false,
            rejections: 0,
            first_rejection: None,
            has_changed: false,
            foreign: BTreeSet::new(),
            failures: FailureNotes::default(),
            hook: None,
            clock,
        };
        updater.write()?;
        Ok(updater)
    }

    /// Runs the hook at once if the file exists: an earlier sync may have been killed between its change and its hook.
    pub(super) fn start_hook(&mut self, command: String) -> std::io::Result<()> {
        let hook = Hook::start(command, self.file.path().to_owned())?;
        if self.file.path().exists() {
            hook.trigger();
        }
        self.hook = Some(hook);
        Ok(())
    }

    /// Fetches once, writes the file, and runs the hook command if that changed the file. Without queries it fetches all that the grants
    /// name.
    pub(super) fn update_once(
        &mut self,
        settings: &Settings,
        queries: &[Query],
        on_change: Option<&str>,
    ) -> anyhow::Result<Exit> {
        let Fetched { credentials, exit } =
            if queries.is_empty() { fetch_granted(settings)? } else { fetch(settings, queries)? };
        for credentials in &credentials {
            self.entries.insert(credentials, self.clock.now());
        }
        self.write().map_err(anyhow::Error::msg)?;
        if let (true, Some(command)) = (self.has_changed, on_change)
            && let Err(problem) = hook::run(command, self.file.path())
        {
            print_error(format_args!("{problem:#}"));
            return Ok(if exit == Exit::Success { Exit::Failure } else { exit });
        }
        if !self.has_changed && exit == Exit::Success {
            print_line(format_args!("{} is up to date", self.file.path().display()))?;
        }
        let is_complete = self.foreign.is_empty() || exit != Exit::Success;
        Ok(if is_complete { exit } else { Exit::Failure })
    }

    /// Follows the watch until a signal. The entries stay in the file, because its readers may outlive this process.
    pub(super) async fn follow(mut self, settings: &Settings, queries: &[Query]) -> anyhow::Result<Exit> {
        let mut signals = Signals::listen()?;
        let mut watch = Watch::new(settings, queries);
        loop {
            let pause = self.entries.next_expiry(self.clock.now()).map_or(INTERVAL, |expiry| expiry.min(INTERVAL));
            tokio::select! {
                () = signals.received() => return Ok(Exit::Success),
                () = sleep(pause) => {}
                event = watch.next() => {
                    let is_disconnected = matches!(event, WatchEvent::WatchFailed(_));
                    if let Some(exit) = self.handle(event, queries.len()) {
                        return Ok(exit);
                    }
                    if !self.has_snapshot && !is_disconnected {
                        continue;
                    }
                }
            }
            if let Err(problem) = self.write() {
                // The next interval tries again.
                print_error(problem);
            }
            // The broker does not resend a credential that this watch still names as known.
            for host in std::mem::take(&mut self.expired) {
                watch.forget(&host);
            }
        }
    }

    /// Applies an event. Returns an exit code if no later event can help.
    fn handle(&mut self, event: WatchEvent, registries: usize) -> Option<Exit> {
        match event {
            WatchEvent::Credentials(credentials) => {
                self.failures.end(&credentials.registry);
                self.entries.insert(&credentials, self.clock.now());
            }
            WatchEvent::RegistryFailed(registry, failure) => {
                if self.failures.is_due(&registry, &failure, self.clock.now()) {
                    print_error(format_args!("{registry}: {failure}"));
                }
                self.count_rejection(failure);
            }
            WatchEvent::SnapshotComplete => {
                self.has_snapshot = true;
                if self.failures.end(CONNECTION) {
                    print_error("the broker answers again");
                }
                let rejection = self.first_rejection.as_ref().filter(|_| self.rejections == registries);
                return rejection.map(Exit::from);
            }
            WatchEvent::WatchFailed(failure) if !self.has_snapshot && is_permanent(&failure) => {
                print_error(&failure);
                return Some(Exit::from(&failure));
            }
            WatchEvent::WatchFailed(failure) => self.note_disconnected(&failure),
            WatchEvent::Unchanged(..) | WatchEvent::Ended | WatchEvent::Unknown => {}
        }
        None
    }

    /// Prints why the broker cannot be reached, unless that is known.
    fn note_disconnected(&mut self, failure: &Failure) {
        if !self.failures.is_due(CONNECTION, failure, self.clock.now()) {
            return;
        }
        if self.entries.is_empty() {
            print_error(format_args!("{failure}; trying again"));
        } else {
            print_error(format_args!("{failure}; valid entries stay in {}", self.file.path().display()));
        }
    }

    fn count_rejection(&mut self, failure: Failure) {
        if failure.code == tonic::Code::InvalidArgument {
            self.rejections += 1;
            self.first_rejection.get_or_insert(failure);
        }
    }

    /// Prints what the file has now. Without a reader there is nothing to tell.
    fn note_written(&self) {
        let (file, count) = (self.file.path().display(), self.entries.iter().count());
        let plural = if count == 1 { "y" } else { "ies" };
        let _ = match self.entries.next_expiry(self.clock.now()) {
            Some(left) => print_line(format_args!("{file}: {count} registr{plural}, valid for {}", short(left))),
            None => print_line(format_args!("{file}: no registry is left")),
        };
    }

    /// Removes expired entries and writes the file if it has changed.
    fn write(&mut self) -> Result<(), String> {
        self.expired.extend(self.entries.remove_expired(self.clock.now()));
        let Written { changed, foreign } = self.file.write(&self.entries)?;
        for host in foreign.difference(&self.foreign) {
            let file = self.file.path().display();
            print_error(format_args!(
                "{file}: the entry for {host} is not sync's, and stays; remove it (docker logout {host})"
            ));
        }
        self.foreign = foreign;
        if changed {
            self.has_changed = true;
            self.note_written();
            if let Some(hook) = &self.hook {
                hook.trigger();
            }
        }
        Ok(())
    }
}

/// Returns whether a later attempt would fail in the same way.
fn is_permanent(failure: &Failure) -> bool {
    use tonic::Code;
    let codes = [Code::InvalidArgument, Code::Unauthenticated, Code::PermissionDenied, Code::Unimplemented];
    failure.retry_after.is_none() && codes.contains(&failure.code)
}
