//! Values in a few shards, so that threads that record at the same time do not contend for one cache line.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Number of shards. More only help with more threads than this, each recording without a pause.
const SHARDS: usize = 8;

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The shard of this thread.
    static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

/// A value per shard. Two cache lines each, because processors fetch lines in pairs.
#[derive(Debug, Default)]
pub(super) struct Sharded<T>([Aligned<T>; SHARDS]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Aligned<T>(T);

impl<T> Sharded<T> {
    /// Returns the shard of the current thread. Threads may share one, so its value must be atomic.
    pub(super) fn own(&self) -> &T {
        // A thread that is ending has no value any more.
        let own = OWN.try_with(|own| *own).unwrap_or_default();
        &self.0[own % SHARDS].0
    }

    /// Returns all shards.
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|shard| &shard.0)
    }
}
