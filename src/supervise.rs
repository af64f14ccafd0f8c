//! Supervises background tasks: restarts them after a panic or an unexpected return.
//!
//! A bug in one of them must not silently end what the broker relies on, such as the reload of its grants.

use std::future::Future;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;
use tracing::error;

/// Delay before a restart.
const RESTART_DELAY: Duration = Duration::from_secs(5);

/// Runs the task that `start` returns, and starts another one whenever it has ended. Dropping the future aborts the task. `what`
/// names the task in log lines.
pub async fn run<F>(what: &str, start: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let ended = AbortOnDropHandle::new(tokio::spawn(start())).await;
        let (panicked, restart_in) = (ended.is_err(), RESTART_DELAY);
        error!(task = what, panicked, ?restart_in, "background task ended unexpectedly");
        tokio::time::sleep(RESTART_DELAY).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn task_restarts_after_a_panic_and_after_a_return() {
        let starts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&starts);
        let supervised = run("counting", move || {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            let counted = Arc::clone(&counted);
            async move {
                match number {
                    0 => panic!("a bug"),
                    1 => {}
                    _ => std::future::pending().await,
                }
                drop(counted);
            }
        });
        assert!(tokio::time::timeout(RESTART_DELAY * 10, supervised).await.is_err(), "the task runs");
        assert_eq!(starts.load(Ordering::SeqCst), 3);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&starts), 1, "the dropped future aborts its task");
    }
}
