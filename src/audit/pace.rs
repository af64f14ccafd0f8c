//! Which task may write: the one that has a record while the output is quick, else only the thread of the log.

use std::time::Duration;

use tokio::runtime::Handle;
use tracing::{info, warn};

/// The longest quick write. A longer one delays every request of its worker too much.
const QUICK: Duration = Duration::from_millis(20);
/// Time of quick writes after which tasks write again.
const QUICK_FOR: Duration = Duration::from_secs(10);
/// Workers that the runtime needs: one may hang in a write, and the others serve.
const MIN_WORKERS: usize = 2;

/// The durations of the last writes.
#[derive(Debug)]
pub(super) struct Pace {
    /// Whether tasks may write at all.
    allows_tasks: bool,
    /// End of the last slow write, on the monotonic clock, until writes were quick for long enough.
    slow: Option<Duration>,
}

impl Pace {
    /// Returns the pace of an output. A pipe, a socket or a terminal may block at any time.
    pub(super) fn new(is_regular_file: bool) -> Self {
        let has_workers = || Handle::try_current().is_ok_and(|runtime| runtime.metrics().num_workers() >= MIN_WORKERS);
        Self { allows_tasks: is_regular_file && has_workers(), slow: None }
    }

    /// Notes a write that took so long and ended now.
    pub(super) fn note(&mut self, took: Duration, now: Duration) {
        if took > QUICK {
            if self.slow.replace(now).is_none() && self.allows_tasks {
                warn!(took_ms = took.as_millis(), "audit log write slow; a thread writes the records");
            }
        } else if self.slow.is_some_and(|slow| now.saturating_sub(slow) >= QUICK_FOR) {
            self.slow = None;
            if self.allows_tasks {
                info!("audit log writes quick again");
            }
        }
    }

    /// Returns whether tasks may write.
    pub(super) fn is_direct(&self) -> bool {
        self.allows_tasks && self.slow.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn slow_write_ends_direct_writes_until_ten_quick_seconds_passed() {
        let mut pace = Pace { allows_tasks: true, slow: None };
        for (took, now, is_direct) in [
            (20, 1_000, true),
            (21, 2_000, false),
            (1, 11_999, false),
            (21, 11_999, false),
            (20, 21_998, false),
            (20, 21_999, true),
            (5_000, 30_000, false),
        ] {
            pace.note(ms(took), ms(now));
            assert_eq!(pace.is_direct(), is_direct, "{took} {now}");
        }
    }

    #[test]
    fn thread_writes_without_a_runtime() {
        assert!(!Pace::new(true).is_direct());
    }

    #[tokio::test]
    async fn thread_writes_with_one_worker() {
        assert!(!Pace::new(true).is_direct());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn thread_writes_with_one_worker_of_a_pool() {
        assert!(!Pace::new(true).is_direct());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn tasks_write_with_two_workers_to_a_file_only() {
        assert!(Pace::new(true).is_direct() && !Pace::new(false).is_direct());
    }
}
