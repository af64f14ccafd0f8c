//! What is held, and how much of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::future::{Cache, CacheBuilder};
use moka::policy::EvictionPolicy;

use super::entry::Entry;
use crate::clock::Clock;
use crate::credential::CredentialKey;
use crate::error::BrokerError;

/// Beside the capacity one part in so many of it is for credentials that are for one caller each: there may be any number of callers,
/// and the shared credentials that everybody waits for have to stay. As much again is left for those that are fetched at the same time.
const SHARE_OF_SINGLE_CALLERS: u64 = 8;
/// One of these callers has one part in so many of that.
const SHARE_OF_EACH: usize = 16;
/// Nobody keeps a place that they do not use.
const IDLE: Duration = Duration::from_hours(1);
/// When there may be a place again.
const WAIT: Duration = Duration::from_mins(1);

/// Credentials by key; the least recently used make way for new ones.
#[derive(Debug)]
pub(super) struct Store {
    shared: Cache<CredentialKey, Arc<Entry>>,
    /// Those that are for one caller. They do not make way: who comes too late is refused, or two callers who ask in turn would have
    /// AWS called each time.
    of_one_caller: Cache<CredentialKey, Arc<Entry>>,
    places: usize,
}

impl Store {
    pub(super) fn new(capacity: u64, clock: &Arc<dyn Clock>) -> Self {
        let places = (capacity / SHARE_OF_SINGLE_CALLERS).max(1);
        Self {
            shared: cache(capacity, clock).build(),
            of_one_caller: cache(2 * places, clock).time_to_idle(IDLE).build(),
            places: usize::try_from(places).unwrap_or(usize::MAX),
        }
    }

    pub(super) async fn get(&self, key: &CredentialKey) -> Option<Arc<Entry>> {
        self.part(key).get(key).await
    }

    /// Whether a credential that is not held yet may be fetched for this key.
    ///
    /// # Errors
    /// Where there are as many for single callers, or for this one, as there may be.
    pub(super) fn check_room(&self, key: &CredentialKey) -> Result<(), BrokerError> {
        let Some(caller) = &key.caller else { return Ok(()) };
        let (mut all, mut own) = (0, 0);
        for (held, _) in &self.of_one_caller {
            all += 1;
            own += usize::from(held.caller.as_ref() == Some(caller));
        }
        if own >= (self.places / SHARE_OF_EACH).max(1) {
            return Err(BrokerError::Overloaded { resource: "credentials for you alone", retry_after: WAIT });
        }
        if all >= self.places {
            return Err(BrokerError::Overloaded { resource: "credentials for single callers", retry_after: WAIT });
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
        self.shared.iter().chain(self.of_one_caller.iter())
    }

    /// Drops what has ended.
    pub(super) async fn sweep(&self) {
        self.shared.run_pending_tasks().await;
        self.of_one_caller.run_pending_tasks().await;
    }

    fn part(&self, key: &CredentialKey) -> &Cache<CredentialKey, Arc<Entry>> {
        if key.caller.is_none() { &self.shared } else { &self.of_one_caller }
    }
}

/// LRU, for under moka's usual policy a full cache refuses a new key, and every read of it would call AWS.
fn cache(
    capacity: u64,
    clock: &Arc<dyn Clock>,
) -> CacheBuilder<CredentialKey, Arc<Entry>, Cache<CredentialKey, Arc<Entry>>> {
    Cache::builder()
        .max_capacity(capacity)
        .eviction_policy(EvictionPolicy::lru())
        .expire_after(UntilItEnds(Arc::clone(clock)))
}

/// moka's expiry: the credential's own end. It must be set anew at every update, for moka would else keep the old end.
struct UntilItEnds(Arc<dyn Clock>);

impl Expiry<CredentialKey, Arc<Entry>> for UntilItEnds {
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
