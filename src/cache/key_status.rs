//! The state of the cache's keys, without secrets: registry coordinates, names, times and counts.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::credential::{ProfileName, SourceName};
use crate::registry::{AccountId, Region, Registry};

/// Which keys a query returns, and in which order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyQuery {
    /// The keys that are returned.
    pub filter: KeyFilter,
    /// Their order.
    pub order: KeyOrder,
    /// Keys to skip.
    pub skip: usize,
    /// Keys to return at most.
    pub limit: usize,
}

/// Conditions of a query, of which a key must meet all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// The account; `None`: any.
    pub account: Option<AccountId>,
    /// The region; `None`: any.
    pub region: Option<Region>,
    /// The profile; `None`: any.
    pub profile: Option<ProfileName>,
    /// Whether only keys whose last fetch failed are returned.
    pub failing: bool,
}

/// The order of keys. Keys that are equal in it are in the order of their registries and profiles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyOrder {
    /// The soonest expiry first. A failing key without a credential comes before all others.
    #[default]
    Expiry,
    /// By registry and profile.
    Registry,
    /// The most hits first.
    Hits,
    /// The newest failure first; keys without one come last.
    Failure,
}

/// The keys that a query found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysStatus {
    /// A page of them.
    pub keys: Vec<KeyStatus>,
    /// Number of the keys that meet the filter.
    pub matching: usize,
    /// Number of all cached credentials.
    pub cached: usize,
    /// The shortest validity that is left of all cached credentials.
    pub shortest: Option<Duration>,
    /// Number of all keys whose last fetch failed.
    pub failing: usize,
    /// Number of those in each region that are not fetched before their failure backoff ends.
    pub backoffs: BTreeMap<Option<Region>, usize>,
    /// Maximum number of shared credentials.
    pub capacity: u64,
}

/// A key, without secrets: registry coordinates, names, times and counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// The registry.
    pub registry: Registry,
    /// The account, as the request or AWS named it.
    pub account: Option<AccountId>,
    /// The profile.
    pub profile: ProfileName,
    /// Whether the credential is of one caller only.
    pub of_one_caller: bool,
    /// The cached credential; `None`: every fetch so far has failed.
    pub cached: Option<CachedTimes>,
    /// The last fetch's failure, unless it succeeded.
    pub failure: Option<KeyFailure>,
    /// The source of the cached credential.
    pub source: Option<SourceName>,
}

/// Times and counts of a cached credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachedTimes {
    /// Its issue.
    pub issued: SystemTime,
    /// Its expiry.
    pub expires: SystemTime,
    /// Its validity that is left.
    pub remaining: Duration,
    /// Time until its refresh; zero if the next use starts one.
    pub refresh_in: Duration,
    /// Whether its last refresh failed.
    pub is_stale: bool,
    /// Answers with the key's credentials from the cache.
    pub hits: u64,
    /// Answers from a fetch that another caller had started.
    pub coalesced: u64,
}

/// A failed fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFailure {
    /// The reason, as in the API's errors: a constant, never a text of AWS.
    pub reason: &'static str,
    /// Time since the failure.
    pub age: Duration,
    /// Time until the next attempt is allowed.
    pub retry_in: Duration,
}

impl KeyStatus {
    /// Returns the registry's host; empty if only AWS knows its account.
    #[must_use]
    pub fn host(&self) -> String {
        self.registry.host_in(self.account).unwrap_or_default()
    }
}
