//! Work that goes on for as long as the program does: a mistake in it must not be the last that is heard of it.

use std::future::Future;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;
use tracing::error;

/// How soon what has ended is begun anew.
const PAUSE: Duration = Duration::from_secs(5);

/// Begins the work, in a task of its own, and begins it anew whenever it has ended, by a panic or by itself. It stops when this
/// is dropped.
pub async fn run<F>(what: &str, begin: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let ended = AbortOnDropHandle::new(tokio::spawn(begin())).await;
        error!(panicked = ended.is_err(), "{what}: this has ended by mistake, and is begun anew");
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_panics_or_ends_is_begun_anew() {
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&begun);
        let work = run("counting", move || {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            let counted = Arc::clone(&counted);
            async move {
                match number {
                    0 => panic!("a mistake"),
                    1 => {}
                    _ => std::future::pending().await,
                }
                drop(counted);
            }
        });
        assert!(tokio::time::timeout(PAUSE * 10, work).await.is_err(), "it goes on");
        assert_eq!(begun.load(Ordering::SeqCst), 3);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&begun), 1, "nothing of it is left");
    }
}
