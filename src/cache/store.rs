//! What is held, and how much of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::future::Cache;
use moka::policy::EvictionPolicy;

use super::entry::Entry;
use crate::clock::Clock;
use crate::credential::CredentialKey;
use crate::error::BrokerError;

/// So much of the room may be taken by credentials that are for one caller each: there may be any number of callers, and the shared
/// credentials that everybody waits for have to stay.
const SHARE_OF_SINGLE_CALLERS: u64 = 4;

/// Credentials by key; the least recently used make way for new ones.
#[derive(Debug)]
pub(super) struct Store {
    shared: Cache<CredentialKey, Arc<Entry>>,
    /// Those that are for one caller. They do not make way: who comes too late is refused, or two callers who ask in turn would have
    /// AWS called each time.
    of_one_caller: Cache<CredentialKey, Arc<Entry>>,
    room_for_single_callers: u64,
}

impl Store {
    pub(super) fn new(capacity: u64, clock: &Arc<dyn Clock>) -> Self {
        let room_for_single_callers = (capacity / SHARE_OF_SINGLE_CALLERS).max(1);
        Self {
            shared: cache(capacity, clock),
            of_one_caller: cache(room_for_single_callers, clock),
            room_for_single_callers,
        }
    }

    pub(super) async fn get(&self, key: &CredentialKey) -> Option<Arc<Entry>> {
        self.part(key).get(key).await
    }

    /// Whether a credential that is not held yet may be fetched for this key.
    ///
    /// # Errors
    /// Where there are as many for single callers as there may be.
    pub(super) async fn check_room(&self, key: &CredentialKey) -> Result<(), BrokerError> {
        if key.caller.is_none() {
            return Ok(());
        }
        if self.of_one_caller.entry_count() >= self.room_for_single_callers {
            // What has ended may still be counted.
            self.of_one_caller.run_pending_tasks().await;
        }
        let full = self.of_one_caller.entry_count() >= self.room_for_single_callers;
        if full { Err(BrokerError::Overloaded { of_what: "credentials for single callers" }) } else { Ok(()) }
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
fn cache(capacity: u64, clock: &Arc<dyn Clock>) -> Cache<CredentialKey, Arc<Entry>> {
    Cache::builder()
        .max_capacity(capacity)
        .eviction_policy(EvictionPolicy::lru())
        .expire_after(UntilItEnds(Arc::clone(clock)))
        .build()
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
