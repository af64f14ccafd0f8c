//! The cached credentials, bounded in number (P8).

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::future::{Cache, CacheBuilder};
use moka::policy::EvictionPolicy;

use super::entry::Entry;
use crate::clock::Clock;
use crate::credential::CredentialKey;
use crate::error::BrokerError;

/// An eighth of the capacity, beside it, is for credentials of single callers. There may be any number of callers, and the shared
/// credentials must stay. The cache itself is twice as large, for credentials that are fetched at the same time.
const PER_CALLER_SHARE: u64 = 8;
/// A single caller has a sixteenth of that share.
const SINGLE_CALLER_SHARE: usize = 16;
/// Unused credentials of single callers are evicted after this time.
const PER_CALLER_IDLE: Duration = Duration::from_hours(1);
/// Retry delay while a share is used up.
const RETRY_DELAY: Duration = Duration::from_mins(1);

/// Credentials by key. A new one evicts the least recently used.
#[derive(Debug)]
pub(super) struct Store {
    shared: Cache<CredentialKey, Arc<Entry>>,
    /// Credentials of single callers are not evicted by new ones: the request that comes too late is refused. Two callers that ask
    /// in turn would otherwise cause an AWS call each time.
    per_caller: Cache<CredentialKey, Arc<Entry>>,
    max_per_caller: usize,
}

impl Store {
    pub(super) fn new(capacity: u64, clock: &Arc<dyn Clock>) -> Self {
        let max_per_caller = (capacity / PER_CALLER_SHARE).max(1);
        Self {
            shared: cache(capacity, clock).build(),
            per_caller: cache(2 * max_per_caller, clock).time_to_idle(PER_CALLER_IDLE).build(),
            max_per_caller: usize::try_from(max_per_caller).unwrap_or(usize::MAX),
        }
    }

    pub(super) async fn get(&self, key: &CredentialKey) -> Option<Arc<Entry>> {
        self.part(key).get(key).await
    }

    /// Checks that a new credential for `key` has room.
    ///
    /// # Errors
    /// The share of all single callers, or of this one, is used up.
    pub(super) fn check_room(&self, key: &CredentialKey) -> Result<(), BrokerError> {
        let Some(caller) = &key.caller else { return Ok(()) };
        let (mut total, mut own) = (0, 0);
        for (cached, _) in &self.per_caller {
            total += 1;
            own += usize::from(cached.caller.as_ref() == Some(caller));
        }
        let full = |resource| Err(BrokerError::Overloaded { resource, retry_after: RETRY_DELAY });
        if own >= (self.max_per_caller / SINGLE_CALLER_SHARE).max(1) {
            return full("credentials cached for this caller");
        }
        if total >= self.max_per_caller {
            return full("credentials cached for single callers");
        }
        Ok(())
    }

    pub(super) async fn insert(&self, key: CredentialKey, entry: Arc<Entry>) {
        self.part(&key).insert(key, entry).await;
    }

    pub(super) async fn invalidate(&self, key: &CredentialKey) {
        self.part(key).invalidate(key).await;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Arc<CredentialKey>, Arc<Entry>)> {
        self.shared.iter().chain(self.per_caller.iter())
    }

    /// Evicts expired credentials. moka does so only when it is used.
    pub(super) async fn sweep(&self) {
        self.shared.run_pending_tasks().await;
        self.per_caller.run_pending_tasks().await;
    }

    fn part(&self, key: &CredentialKey) -> &Cache<CredentialKey, Arc<Entry>> {
        if key.caller.is_none() { &self.shared } else { &self.per_caller }
    }
}

/// LRU: under moka's default policy a full cache refuses a new key, and each read of that key would call AWS.
fn cache(
    capacity: u64,
    clock: &Arc<dyn Clock>,
) -> CacheBuilder<CredentialKey, Arc<Entry>, Cache<CredentialKey, Arc<Entry>>> {
    Cache::builder()
        .max_capacity(capacity)
        .eviction_policy(EvictionPolicy::lru())
        .expire_after(UntilExpiry(Arc::clone(clock)))
}

/// Evicts a credential from memory when it expires.
///
/// This is one of the three places that end a credential's use, and only hygiene: `Entry::check` has refused the credential before
/// (P3), or a denial in `fetch.rs` has dropped it (P5). Each update sets the time again, because moka would keep the old one.
struct UntilExpiry(Arc<dyn Clock>);

impl Expiry<CredentialKey, Arc<Entry>> for UntilExpiry {
    fn expire_after_create(&self, _: &CredentialKey, entry: &Arc<Entry>, _: Instant) -> Option<Duration> {
        Some(entry.credential.remaining(self.0.now()))
    }

    fn expire_after_update(
        &self,
        _: &CredentialKey,
        entry: &Arc<Entry>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.credential.remaining(self.0.now()))
    }
}
