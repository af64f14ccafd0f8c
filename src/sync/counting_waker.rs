//! A waker of the tests, which counts how often its task is woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

/// Counts the wakes of a task.
#[derive(Debug, Default)]
pub(crate) struct Wakes(AtomicUsize);

/// Returns a waker and the count of its wakes.
pub(crate) fn counting() -> (Arc<Wakes>, Waker) {
    let wakes = Arc::<Wakes>::default();
    (Arc::clone(&wakes), Waker::from(wakes))
}

impl Wakes {
    /// Returns how often the task was woken since the last time.
    pub(crate) fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
