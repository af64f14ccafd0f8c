//! Storage of cached credentials, bounded in number (P8).

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::future::{Cache, CacheBuilder};
use moka::policy::EvictionPolicy;
use tokio::sync::{Mutex, Notify};

use super::entry::Entry;
use super::index::Index;
use super::metrics::Metrics;
use super::touches::Touches;
use crate::caller::Principal;
use crate::clock::Clock;
use crate::credential::CredentialKey;
use crate::error::BrokerError;
use crate::limits::{LimitHits, LimitName};
use crate::profile::ActiveProfiles;

/// Divisor of the capacity for the credentials of single callers, which have their own storage beside the shared ones. The number of
/// callers is unbounded, and they must not evict shared credentials. The storage is twice as large as the limit, so that only
/// `make_room` evicts.
const PER_CALLER_SHARE: u64 = 8;
/// Divisor of that share for one caller.
const SINGLE_CALLER_SHARE: usize = 16;
/// Idle time after which a single caller's credential is evicted.
const PER_CALLER_IDLE: Duration = Duration::from_hours(1);
/// Retry delay while a share is used up.
const RETRY_DELAY: Duration = Duration::from_mins(1);

/// Credentials by key. A new shared credential evicts the least recently used one.
#[derive(Debug)]
pub(super) struct Store {
    shared: Cache<CredentialKey, Arc<Entry>>,
    /// Credentials of single callers. A new one evicts the least recently used one of its caller, or of all, beyond their shares. The
    /// budget of calls to STS bounds what callers cost that alternate.
    per_caller: Cache<CredentialKey, Arc<Entry>>,
    max_per_caller: usize,
    /// Held during a write: a push and a fetch may write the same key, and the index must have what the storage has.
    writing: Mutex<()>,
    limit_hits: LimitHits,
    /// Hits that moka has not seen.
    pub(super) touches: Touches,
    pub(super) index: Arc<Index>,
    /// Notified when a credential was cached or removed.
    pub(super) changes: Arc<Notify>,
    /// The profiles in effect, once they are known.
    pub(super) profiles: Arc<OnceLock<ActiveProfiles>>,
}

impl Store {
    pub(super) fn new(capacity: u64, clock: &Arc<dyn Clock>, metrics: &Metrics) -> Self {
        let max_per_caller = (capacity / PER_CALLER_SHARE).max(1);
        let (index, changes) = (Arc::<Index>::default(), Arc::<Notify>::default());
        let profiles = Arc::<OnceLock<ActiveProfiles>>::default();
        let cache = |capacity| cache(capacity, clock, (&index, &changes), (metrics, &profiles));
        Self {
            shared: cache(capacity).build(),
            per_caller: cache(2 * max_per_caller).time_to_idle(PER_CALLER_IDLE).build(),
            index,
            changes,
            profiles,
            limit_hits: metrics.limit_hits.clone(),
            writing: Mutex::default(),
            touches: Touches::default(),
            max_per_caller: usize::try_from(max_per_caller).unwrap_or(usize::MAX),
        }
    }

    pub(super) async fn get(&self, key: &CredentialKey) -> Option<Arc<Entry>> {
        let entry = self.part(key).get(key).await?;
        self.touches.note_after_others(key, &entry);
        if key.caller.is_some() {
            self.touches.stamp(&entry);
        }
        Some(entry)
    }

    /// Has moka see the uses that it has not seen, so that the least recently used entry is the same as if every hit had read it.
    async fn replay(&self) {
        for touched in self.touches.take() {
            _ = self.part(touched.key()).get(touched.key()).await;
        }
    }

    /// Checks that a credential of an earlier process has room. It does not evict others.
    ///
    /// # Errors
    /// The share of all single callers, or of this one, is used up.
    pub(super) fn check_room(&self, key: &CredentialKey) -> Result<(), BrokerError> {
        let Some((limit, _)) = key.caller.as_ref().and_then(|caller| self.full_share(caller)) else { return Ok(()) };
        self.limit_hits.count(limit);
        Err(BrokerError::Overloaded { resource: "credentials cached for single callers", retry_after: RETRY_DELAY })
    }

    /// Returns the share that a new credential of a single caller exceeds: that of the caller itself, or that of all.
    fn full_share(&self, caller: &Principal) -> Option<(LimitName, bool)> {
        let (own, total) = self.index.counts(caller);
        if own >= (self.max_per_caller / SINGLE_CALLER_SHARE).max(1) {
            return Some((LimitName::CallerCredentials, true));
        }
        (total >= self.max_per_caller).then_some((LimitName::SingleCallerCredentials, false))
    }

    /// Evicts the least recently used credential of the share that a new one for `key` exceeds.
    async fn make_room(&self, key: &CredentialKey) {
        let Some(caller) = &key.caller else { return };
        let Some((limit, is_own)) = self.full_share(caller) else { return };
        let is_one = |other: &Principal| !is_own || other.subject() == caller.subject();
        let of_share = self.per_caller.iter().filter(|(key, _)| key.caller.as_ref().is_some_and(is_one));
        let oldest = of_share.min_by_key(|(_, entry)| entry.last_use.load(Ordering::Relaxed));
        if let Some((oldest, _)) = oldest {
            self.limit_hits.count(limit);
            self.mark_gone(&oldest).await;
            self.per_caller.invalidate(&*oldest).await;
        }
    }

    pub(super) async fn insert(&self, key: CredentialKey, entry: Arc<Entry>) {
        let _writing = self.writing.lock().await;
        self.put(key, entry).await;
    }

    pub(super) async fn invalidate(&self, key: &CredentialKey) {
        let _writing = self.writing.lock().await;
        self.remove(key).await;
    }

    async fn remove(&self, key: &CredentialKey) {
        self.mark_gone(key).await;
        self.part(key).invalidate(key).await;
    }

    /// Replaces `old` by `new`, unless `old` is no longer what is cached. Returns whether it was.
    pub(super) async fn swap(&self, key: &CredentialKey, old: &Arc<Entry>, new: Entry) -> bool {
        let _writing = self.writing.lock().await;
        let is_current = self.get(key).await.is_some_and(|current| Arc::ptr_eq(&current, old));
        if is_current {
            self.put(key.clone(), Arc::new(new)).await;
        }
        is_current
    }

    /// Stores an entry, unless a reload has replaced its profile meanwhile: then nothing would find it.
    async fn put(&self, key: CredentialKey, entry: Arc<Entry>) {
        if self.is_retired(&key) {
            return;
        }
        self.put_unchecked(&key, entry).await;
        // A reload may have replaced it since the check, and its sweep may have passed before the entry was there.
        if self.is_retired(&key) {
            self.remove(&key).await;
        }
    }

    async fn put_unchecked(&self, key: &CredentialKey, entry: Arc<Entry>) {
        let is_new = !self.mark_gone(key).await;
        if is_new {
            // A new entry may evict the least recently used one.
            self.replay().await;
            self.make_room(key).await;
        }
        // First: moka may evict the new entry at once, and its listener then removes it from the index.
        self.index.insert(key, &entry);
        self.part(key).insert(key.clone(), Arc::clone(&entry)).await;
        if !is_new {
            self.touches.note_after_others(key, &entry);
        }
        if key.caller.is_some() {
            self.touches.stamp(&entry);
        }
        self.changes.notify_one();
    }

    /// Ends the hits that do not look here, before moka ends the entry. Returns whether there is one.
    async fn mark_gone(&self, key: &CredentialKey) -> bool {
        let entry = self.get(key).await;
        entry.inspect(|entry| entry.mark_gone()).is_some()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Arc<CredentialKey>, Arc<Entry>)> {
        self.shared.iter().chain(self.per_caller.iter())
    }

    /// Evicts expired credentials. moka does so only when it is used.
    pub(super) async fn sweep(&self) {
        self.replay().await;
        self.shared.run_pending_tasks().await;
        self.per_caller.run_pending_tasks().await;
    }

    fn part(&self, key: &CredentialKey) -> &Cache<CredentialKey, Arc<Entry>> {
        if key.caller.is_none() { &self.shared } else { &self.per_caller }
    }
}

/// Returns the builder of an LRU cache. With moka's default policy, a full cache refuses a new key, and each read of it calls AWS.
fn cache(
    capacity: u64,
    clock: &Arc<dyn Clock>,
    (index, changes): (&Arc<Index>, &Arc<Notify>),
    (metrics, profiles): (&Metrics, &Arc<OnceLock<ActiveProfiles>>),
) -> CacheBuilder<CredentialKey, Arc<Entry>, Cache<CredentialKey, Arc<Entry>>> {
    let (index, changes, metrics) = (Arc::clone(index), Arc::clone(changes), metrics.clone());
    let profiles = Arc::clone(profiles);
    Cache::builder()
        .max_capacity(capacity)
        .eviction_listener(move |key, entry: Arc<Entry>, cause| {
            entry.mark_gone();
            index.remove(&key, &entry);
            metrics.evicted(cause, || profiles.get().is_some_and(|profiles| profiles.is_retired(&key)));
            changes.notify_one();
        })
        .eviction_policy(EvictionPolicy::lru())
        .expire_after(UntilExpiry(Arc::clone(clock)))
}

/// Evicts a credential from memory when it expires. Each update sets the time again, because moka would keep the old one.
///
/// Three places end a credential's use: `Entry::check` (P3), a denial in `Fetcher::keep_failure` (P5), and this expiry. It only
/// frees the memory: the check has refused the credential before.
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

#[cfg(test)]
mod tests;
