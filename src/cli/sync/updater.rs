//! Keeps a target equal to the events of a watch.

use std::collections::BTreeSet;

use tokio::time::sleep;

use super::auth_entries::AuthEntries;
use super::failure_notes::FailureNotes;
use super::target::{Problem, Target, Update};
use crate::cli::fetch::{Fetched, fetch_all};
use crate::client::{Failure, Query, Settings, Watch, WatchEvent};
use crate::clock::{Clock, SystemClock};
use crate::exit_code::Exit;
use crate::moment::Moment;
use crate::signal::Signals;
use crate::terminal::{print_error, print_line};

/// The subject of failures that concern all registries.
const CONNECTION: &str = "";
/// Most registries whose failures are remembered. A broker names the registries if the user does not.
const MAX_REGISTRIES: usize = 1_000;

/// A target and the entries that belong into it.
pub(super) struct Updater<T> {
    target: T,
    entries: AuthEntries,
    /// Hosts whose entries have expired since the last event.
    expired: BTreeSet<String>,
    /// Whether the watch has sent an event for every registry. Until then entries may be missing here.
    has_snapshot: bool,
    /// The number of registries that the broker rejects as invalid, and the first such failure.
    rejections: usize,
    first_rejection: Option<Failure>,
    has_changed: bool,
    /// The target's problems after the last update.
    problems: Vec<Problem>,
    /// The connection's failure, apart from those of registries, which may be too many to remember.
    disconnected: FailureNotes,
    failures: FailureNotes,
    /// The printed problems, as many as the target has parts.
    printed: FailureNotes,
    clock: Box<dyn Clock>,
}

impl<T: Target> Updater<T> {
    /// Takes a target with the entries of an earlier sync, and what their removal changed.
    pub(super) fn new(target: T, entries: AuthEntries, removal: Update) -> Self {
        let mut updater = Self {
            target,
            entries,
            expired: BTreeSet::new(),
            has_snapshot: false,
            rejections: 0,
            first_rejection: None,
            has_changed: false,
            problems: Vec::new(),
            disconnected: FailureNotes::of_at_most(1),
            failures: FailureNotes::of_at_most(MAX_REGISTRIES),
            printed: FailureNotes::of_at_most(usize::MAX),
            clock: Box::new(SystemClock::new()),
        };
        updater.report(removal);
        updater
    }

    pub(super) fn target(&self) -> &T {
        &self.target
    }

    /// Returns whether the target has changed since the start.
    pub(super) fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// Fetches once and updates the target. Without queries it fetches all that the grants name. The target has the same time limit as the
    /// fetch, together.
    pub(super) async fn update_once(&mut self, settings: &Settings, queries: &[Query]) -> anyhow::Result<Exit> {
        let end = self.clock.now().after(settings.timeout);
        // Removes expired entries before the call, whatever its result.
        self.update().await;
        let Fetched { credentials, exit } = fetch_all(settings, queries).await;
        for credentials in &credentials {
            self.entries.insert(credentials, self.clock.now());
        }
        self.update_until(end).await;
        let exit =
            if exit == Exit::Success { self.problems.first().map_or(exit, |problem| problem.exit) } else { exit };
        if !self.has_changed && exit == Exit::Success {
            print_line(format_args!("{} is up to date", self.target.name()))?;
        }
        Ok(exit)
    }

    /// Updates the target until it has no problem that may pass, and nothing else to do, or until this time.
    async fn update_until(&mut self, end: Moment) {
        loop {
            self.update().await;
            let now = self.clock.now();
            let pause = self.target.pause(now);
            let may_pass = self.problems.iter().any(|problem| problem.exit == Exit::Unavailable);
            if !may_pass && !pause.is_zero() || pause >= now.until(end) {
                return;
            }
            sleep(pause).await;
        }
    }

    /// Follows the watch until a signal. The entries stay in the target, because its readers may outlive this process.
    pub(super) async fn follow(mut self, settings: &Settings, queries: &[Query]) -> anyhow::Result<Exit> {
        let mut signals = Signals::listen()?;
        let mut watch = Watch::new(settings, queries);
        // Removes expired entries before the first call, whatever its result.
        tokio::select! {
            () = signals.received() => return Ok(Exit::Success),
            () = self.update() => {}
        }
        loop {
            let (now, pause) = (self.clock.now(), self.target.pause(self.clock.now()));
            let pause = self.entries.next_expiry(now).map_or(pause, |expiry| expiry.min(pause));
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
            tokio::select! {
                () = signals.received() => return Ok(Exit::Success),
                () = self.update() => {}
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
                if self.disconnected.end(CONNECTION) {
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
        if !self.disconnected.is_due(CONNECTION, failure, self.clock.now()) {
            return;
        }
        if self.entries.is_empty() {
            print_error(format_args!("{failure}; trying again"));
        } else {
            print_error(format_args!("{failure}; valid entries stay in {}", self.target.name()));
        }
    }

    fn count_rejection(&mut self, failure: Failure) {
        if failure.code == tonic::Code::InvalidArgument {
            self.rejections += 1;
            self.first_rejection.get_or_insert(failure);
        }
    }

    /// Removes expired entries and updates the target.
    async fn update(&mut self) {
        let now = self.clock.now();
        self.expired.extend(self.entries.remove_expired(now));
        let update = self.target.update(&self.entries, now).await;
        self.report(update);
    }

    /// Prints changes, and problems that are new or due again. Without a reader of stdout there is nothing to tell.
    fn report(&mut self, Update { changes, notes, problems }: Update) {
        self.has_changed |= !changes.is_empty();
        for line in changes {
            let _ = print_line(line);
        }
        notes.iter().for_each(print_error);
        let subjects: BTreeSet<_> = problems.iter().map(|problem| &problem.subject).collect();
        for ended in self.problems.iter().filter(|known| !subjects.contains(&known.subject)) {
            self.printed.end(&ended.subject);
        }
        for problem in &problems {
            if self.printed.is_new(&problem.subject, problem.text.clone(), self.clock.now()) {
                print_error(&problem.text);
            }
        }
        self.problems = problems;
    }
}

/// Returns whether a later attempt would fail in the same way.
fn is_permanent(failure: &Failure) -> bool {
    use tonic::Code;
    let codes = [Code::InvalidArgument, Code::Unauthenticated, Code::PermissionDenied, Code::Unimplemented];
    failure.retry_after.is_none() && codes.contains(&failure.code)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tokio::time::Instant;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(2);
    const LIMIT: Duration = Duration::from_secs(9);

    /// A target with a problem in its first updates.
    struct Failing {
        exit: Exit,
        updates: usize,
        failures: usize,
    }

    impl Target for Failing {
        async fn update(&mut self, _: &AuthEntries, _: Moment) -> Update {
            self.updates += 1;
            let problem = Problem { subject: "a".to_owned(), text: "a: down".to_owned(), exit: self.exit };
            let is_failing = self.updates <= self.failures;
            Update { problems: is_failing.then_some(problem).into_iter().collect(), ..Update::default() }
        }

        fn pause(&self, _: Moment) -> Duration {
            PAUSE
        }

        fn name(&self) -> String {
            "a".to_owned()
        }
    }

    /// tokio's clock, which is paused.
    #[derive(Debug)]
    struct Paused(Instant);

    impl Clock for Paused {
        fn now(&self) -> Moment {
            let steady = self.0.elapsed();
            Moment { wall: SystemTime::UNIX_EPOCH + steady, steady }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn transient_problem_is_tried_again_within_the_time_limit() {
        for (exit, failures, updates, seconds) in [
            (Exit::Unavailable, 0, 1, 0),
            (Exit::Unavailable, 2, 3, 4),
            (Exit::Unavailable, usize::MAX, 5, 8),
            (Exit::Failure, usize::MAX, 1, 0),
        ] {
            let target = Failing { exit, updates: 0, failures };
            let mut updater = Updater::new(target, AuthEntries::default(), Update::default());
            updater.clock = Box::new(Paused(Instant::now()));
            updater.update_until(updater.clock.now().after(LIMIT)).await;
            let elapsed = updater.clock.steady().as_secs();
            assert_eq!((updater.target.updates, elapsed), (updates, seconds), "{exit:?} {failures}");
            assert_eq!(updater.problems.is_empty(), failures < updates);
        }
    }
}
