//! Settings of the cache.

use std::time::Duration;

/// Settings of the cache.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Longest time from a fetch to the refresh. Half of the credential's validity takes precedence if it is shorter.
    pub refresh_after: Duration,
    /// Minimum validity of a returned credential.
    pub safety_margin: Duration,
    /// Maximum number of cached credentials.
    pub capacity: u64,
    /// Maximum number of callers that wait for fetches at the same time.
    pub max_waiters: usize,
    /// Maximum number of credentials with an expiry metric of their own; zero: only the first expiry of each region is exposed.
    pub max_exposed_keys: usize,
}
