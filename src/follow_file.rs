//! Follows files: reads them at an interval and on SIGHUP, and reports contents that have settled.
//!
//! A file that is being written may be read half-way, without the grants or the denials at its end. Contents therefore count once
//! two readings in a row are equal. Contents are compared, not modification times: Kubernetes swaps links and keeps times.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Interval;
use tracing::{error, warn};

use crate::sync::lock;

pub use self::in_effect::FilesInEffect;

mod in_effect;

/// Time between two checks.
const INTERVAL: Duration = Duration::from_secs(5);
/// Time between two readings after SIGHUP, which does not wait for the next check.
const SETTLE_TIME: Duration = Duration::from_millis(100);
/// Readings after SIGHUP before files that keep changing are left to the next check.
const MAX_READINGS: u32 = 50;

/// Follows the contents `C` of some files; a reading can fail with `E`.
pub(crate) struct FileFollower<C, E> {
    what: &'static str,
    read: Arc<dyn Fn() -> Result<C, E> + Send + Sync>,
    ticks: Interval,
    hangup: Option<Signal>,
    last_read: C,
    last_settled: C,
}

/// The result of one check.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Check<C, E> {
    /// Whether SIGHUP asked for the check.
    pub(crate) requested: bool,
    pub(crate) found: Found<C, E>,
}

/// The state of the files at a check.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<C, E> {
    /// Two readings in a row were equal.
    Settled {
        contents: C,
        /// Whether they differ from the contents that had settled before.
        changed: bool,
    },
    /// The last two readings differ. Of several files, some may have settled.
    Unsettled(C),
    /// The reading failed.
    Unreadable(E),
}

impl<C, E> FileFollower<C, E>
where
    C: Clone + PartialEq + Send + 'static,
    E: Send + 'static,
{
    /// Follows the files that `read` reads and that had `contents` when they were last used. `what` names them in log lines.
    pub(crate) fn new(
        what: &'static str,
        contents: C,
        read: impl Fn() -> Result<C, E> + Send + Sync + 'static,
    ) -> Self {
        let ticks = tokio::time::interval(INTERVAL);
        let (last_read, last_settled) = (contents.clone(), contents);
        Self { what, read: Arc::new(read), ticks, hangup: None, last_read, last_settled }
    }

    /// Checks at every `hangup`, too.
    pub(crate) fn on_hangup(self, hangup: Option<Signal>) -> Self {
        Self { hangup, ..self }
    }

    /// Waits for the next check and returns its result.
    pub(crate) async fn next(&mut self) -> Check<C, E> {
        let requested = self.due().await;
        Check { requested, found: self.check(requested).await }
    }

    /// Waits until a check is due; returns whether SIGHUP asked for it.
    pub(crate) async fn due(&mut self) -> bool {
        tokio::select! {
            () = received(self.hangup.as_mut()) => true,
            _ = self.ticks.tick() => false,
        }
    }

    /// Reads the files once, and after a request until they settle.
    pub(crate) async fn check(&mut self, requested: bool) -> Found<C, E> {
        let mut found = self.read().await;
        for _ in 0..MAX_READINGS {
            if !requested || !matches!(found, Found::Unsettled(_)) {
                return found;
            }
            tokio::time::sleep(SETTLE_TIME).await;
            found = self.read().await;
        }
        if matches!(found, Found::Unsettled(_)) {
            warn!(files = self.what, "reload postponed: files keep changing");
        }
        found
    }

    async fn read(&mut self) -> Found<C, E> {
        let read = Arc::clone(&self.read);
        let contents = match tokio::task::spawn_blocking(move || read()).await {
            Ok(Ok(contents)) => contents,
            Ok(Err(error)) => return Found::Unreadable(error),
            // To the supervisor, which logs the task's name and restarts it.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Found::Unsettled(self.last_read.clone()),
        };
        if contents != self.last_read {
            self.last_read = contents.clone();
            return Found::Unsettled(contents);
        }
        let changed = contents != self.last_settled;
        if changed {
            self.last_settled = contents.clone();
        }
        Found::Settled { contents, changed }
    }
}

impl<C, E> fmt::Debug for FileFollower<C, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileFollower").field("what", &self.what).finish_non_exhaustive()
    }
}

/// Completes when the signal arrives; without a signal, never.
async fn received(hangup: Option<&mut Signal>) {
    match hangup {
        Some(hangup) => _ = hangup.recv().await,
        None => std::future::pending().await,
    }
}

/// A source of SIGHUP receivers for a task that can be restarted.
///
/// The first receiver exists before the broker announces itself: without one, SIGHUP would end the process.
#[derive(Debug)]
pub(crate) struct Hangups(Mutex<Option<Signal>>);

impl Hangups {
    pub(crate) fn new(first: Signal) -> Self {
        Self(Mutex::new(Some(first)))
    }

    /// Returns the first receiver, and after a restart a new one.
    pub(crate) fn receiver(&self) -> Option<Signal> {
        let first = lock(&self.0).take();
        first.map_or_else(|| signal(SignalKind::hangup()), Ok).inspect_err(log_no_receiver).ok()
    }
}

fn log_no_receiver(error: &std::io::Error) {
    error!(%error, "SIGHUP receiver failed; files are checked at their interval only");
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    type Readings = Arc<Mutex<VecDeque<Result<u32, &'static str>>>>;

    /// A follower of contents that were 1, and the readings that it makes next; the last one repeats.
    fn follower(readings: &[Result<u32, &'static str>]) -> (FileFollower<u32, &'static str>, Readings) {
        let readings: Readings = Arc::new(Mutex::new(readings.iter().copied().collect()));
        let next = Arc::clone(&readings);
        let read = move || {
            let mut next = next.lock().expect("no panic");
            if next.len() > 1 { next.pop_front().expect("not empty") } else { next[0] }
        };
        (FileFollower::new("numbers", 1, read), readings)
    }

    fn settled(contents: u32, changed: bool) -> Found<u32, &'static str> {
        Found::Settled { contents, changed }
    }

    #[tokio::test(start_paused = true)]
    async fn contents_settle_when_two_readings_are_equal() {
        let (mut follower, _) = follower(&[Ok(1), Ok(2), Ok(3), Ok(3), Ok(3), Err("gone"), Ok(3)]);
        let expected = [
            settled(1, false),
            Found::Unsettled(2),
            Found::Unsettled(3),
            settled(3, true),
            settled(3, false),
            Found::Unreadable("gone"),
            settled(3, false),
        ];
        let start = tokio::time::Instant::now();
        for found in expected {
            assert_eq!(follower.next().await, Check { requested: false, found });
        }
        assert_eq!(start.elapsed(), 6 * INTERVAL, "the first check is immediate");
    }

    /// The supervisor names the task and restarts it; a follower that went on would hide the panic.
    #[tokio::test]
    async fn panic_while_reading_ends_the_task_of_the_follower() {
        let read = || -> Result<u32, &'static str> { panic!("as scripted") };
        let mut follower = FileFollower::new("numbers", 1, read);
        let task = tokio::spawn(async move { follower.next().await });
        assert!(task.await.is_err_and(|error| error.is_panic()));
    }

    #[tokio::test(start_paused = true)]
    async fn requested_check_waits_until_contents_settle() {
        let (mut follower, _) = follower(&[Ok(2), Ok(3), Ok(3)]);
        let start = tokio::time::Instant::now();
        assert_eq!(follower.check(true).await, settled(3, true));
        assert_eq!(start.elapsed(), 2 * SETTLE_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn requested_check_ends_when_unreadable_or_never_settled() {
        let (mut unreadable, _) = follower(&[Ok(2), Err("gone")]);
        assert_eq!(unreadable.check(true).await, Found::Unreadable("gone"));
        let endless: Vec<_> = (2..1_000).map(Ok).collect();
        let (mut restless, readings) = follower(&endless);
        assert_eq!(restless.check(true).await, Found::Unsettled(52));
        assert_eq!(endless.len() - readings.lock().expect("no panic").len(), 51);
    }
}
