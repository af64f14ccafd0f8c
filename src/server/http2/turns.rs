//! Turns of a connection: lets its calls run between two requests.
//!
//! h2 decodes all requests that it can read before the first of them reaches its handler. Short headers on the wire can take 80 KB
//! once they are decoded, so an unproved peer gets one request decoded per turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the turns of one connection. A clone is a handle of the same count.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<AtomicU64>);

impl Turns {
    /// Begins a turn: the connection will be polled, and every earlier request has reached its handler.
    pub(super) fn begin(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of the current turn.
    pub(super) fn current(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
