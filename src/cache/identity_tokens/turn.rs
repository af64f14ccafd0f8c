//! The turn to fetch a token: one fetch at a time for each identity.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::source::FetchProgress;

/// The turn of one token, shared by the fetches that wait for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Turn {
    /// Held during a fetch.
    pub(super) lock: Arc<Mutex<()>>,
    /// The progress of that fetch. All that wait are its requesters.
    pub(super) progress: FetchProgress,
}
