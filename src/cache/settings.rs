//! Settings of the cache.

use std::time::Duration;

/// Settings of the cache.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Longest time until a cached credential is refreshed; half its validity if that is less.
    pub refresh_after: Duration,
    /// A credential with less validity left is never returned.
    pub safety_margin: Duration,
    /// Cached credentials.
    pub capacity: u64,
    /// Callers that may wait for fetches at the same time.
    pub max_waiters: usize,
}
