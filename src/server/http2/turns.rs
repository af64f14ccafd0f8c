//! Turns of a connection's task: lets the tasks of its calls run between two requests.
//!
//! h2 decodes all requests that it can read, and hyper starts a task for each, before the first of these tasks runs. Short headers on
//! the wire can take 80 KB once they are decoded, so an unproved peer gets one request decoded per turn.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the turns of one connection. A clone is a handle of the same count.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<AtomicU64>);

impl Turns {
    /// Runs a connection, and counts a turn each time that it is polled.
    pub(super) async fn count<F: Future>(&self, connection: F) -> F::Output {
        let mut connection = pin!(connection);
        poll_fn(|context| {
            self.0.fetch_add(1, Ordering::Relaxed);
            connection.as_mut().poll(context)
        })
        .await
    }

    /// Returns the number of the current turn.
    pub(super) fn current(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
