//! What the service manager learns of the broker: that it is ready, a status line, and that it makes progress.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tracing::warn;

use crate::cache::CredentialCache;
use crate::limits::ConnectionsStatus;
use crate::service_manager::ServiceManager;
use crate::status::{Check, Readiness, Reloads};

/// Time to get ready. Then the broker counts as started: it accepts connections, and heals without a restart (P13).
///
/// Longer than `cache.keep_warm` may take, and shorter than `TimeoutStartSec` of systemd, 90 s.
const READY_TIMEOUT: Duration = Duration::from_secs(35);
/// Time between two looks at the status line.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);
/// Time without progress that counts as none. The health is updated each second.
const MIN_PATIENCE: Duration = Duration::from_secs(5);

/// The parts of the broker that the status line tells of.
#[derive(Clone)]
pub(super) struct Announcer<C> {
    pub(super) manager: ServiceManager,
    pub(super) readiness: Readiness,
    pub(super) cache: CredentialCache,
    pub(super) reloads: Reloads,
    /// Counts the connections of callers.
    pub(super) connections: C,
}

impl<C: Fn() -> ConnectionsStatus> Announcer<C> {
    /// Announces that the broker is ready once it is, and keeps the status line up to date.
    pub(super) async fn run(self) {
        if !self.manager.is_present() {
            return std::future::pending().await;
        }
        if !self.readiness.is_ready() {
            self.manager.status(&self.line());
        }
        if tokio::time::timeout(READY_TIMEOUT, self.readiness.until_ready()).await.is_err() {
            let problem = self.problem();
            warn!(problem, "broker not ready in time; the service manager counts it as started");
        }
        let mut ticks = tokio::time::interval(STATUS_INTERVAL);
        loop {
            ticks.tick().await;
            let line = self.line();
            self.manager.ready(&line);
            self.manager.status(&line);
        }
    }

    /// Returns the status line.
    pub(super) fn line(&self) -> String {
        let ConnectionsStatus { tcp, unix, aws_api } = (self.connections)();
        let connected = tcp.used + unix.used + aws_api.used;
        if self.readiness.is_draining() {
            return format!("draining: {connected} connected");
        }
        let doing = match self.problem() {
            Some(problem) => format!("starting ({problem})"),
            None if self.cache.can_serve() => "serving".to_owned(),
            None => "not serving (no AWS identity and no valid credential)".to_owned(),
        };
        let in_effect = if self.reloads.are_files_in_effect() { "" } else { ", a configuration file is not in effect" };
        format!("{doing}: {} cached, {connected} connected{in_effect}", self.cache.cached_count())
    }

    /// Returns why the broker is not ready, if it is not.
    fn problem(&self) -> Option<&'static str> {
        self.readiness.checks().iter().find_map(|Check { problem, .. }| *problem)
    }
}

impl<C> fmt::Debug for Announcer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcer").field("manager", &self.manager).finish_non_exhaustive()
    }
}

/// Gives signs of life, twice in the time that the service manager waits for one.
///
/// This task proves that the runtime runs tasks and timers. `updates` counts the updates of the health, which prove that tasks of the
/// broker go on and can read the cache. None of them waits for a disk, for AWS or for a peer, so a slow one is not mistaken for a
/// broker that hangs. `None`: the broker drains, and updates have ended.
pub(super) async fn watchdog(manager: ServiceManager, updates: impl Fn() -> Option<u64>) {
    let Some(timeout) = manager.watchdog() else { return std::future::pending().await };
    let patience = timeout.max(MIN_PATIENCE);
    let mut ticks = tokio::time::interval(timeout / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut progress = (updates(), Instant::now());
    loop {
        ticks.tick().await;
        let updates = updates();
        if updates != progress.0 || updates.is_none() {
            progress = (updates, Instant::now());
        }
        if progress.1.elapsed() <= patience {
            manager.alive();
        } else {
            warn!("no sign of life to the watchdog: the health is not updated");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_end_with_the_progress_of_tasks_unless_draining() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();
        receiver.set_nonblocking(true).unwrap();
        let manager = ServiceManager::at(path.as_os_str(), Some(Duration::from_secs(30))).unwrap();
        let signs = || std::iter::from_fn(|| receiver.recv(&mut [0; 64]).ok()).count();

        let updates = Cell::new(Some(0));
        let watchdog = watchdog(manager, || updates.get());
        let mut watchdog = std::pin::pin!(watchdog);
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes + 5);
        let mut seen = Vec::new();
        for step in 1..=3 {
            // Progress once in a while is enough.
            updates.set(Some(step));
            assert!(tokio::time::timeout(Duration::from_secs(20), &mut watchdog).await.is_err());
            seen.push(signs());
        }
        assert!(seen.iter().all(|signs| *signs >= 1), "{seen:?}");
        assert!(tokio::time::timeout(minutes(1), &mut watchdog).await.is_err());
        signs();
        assert!(tokio::time::timeout(minutes(10), &mut watchdog).await.is_err());
        assert_eq!(signs(), 0, "the health hangs");
        updates.set(None);
        assert!(tokio::time::timeout(minutes(1), &mut watchdog).await.is_err());
        assert!(signs() >= 4, "a drain is not a hang");
    }

    #[tokio::test(start_paused = true)]
    async fn no_sign_of_life_without_a_watchdog() {
        let watchdog = watchdog(ServiceManager::default(), || None);
        assert!(tokio::time::timeout(Duration::from_hours(1), watchdog).await.is_err());
    }
}
