//! Hits that do not look into the storage: those of a lookup that was a hit before.
//!
//! Only plain hits are repeated: the entry is still stored, lasts long enough by the clock, is not STALE, and no refresh is due.

use std::sync::Arc;

use super::CredentialCache;
use super::cached_hit::{CachedHit, Repeat};
use super::entry::Entry;
use super::lookup::{CacheStatus, Found};
use crate::credential::CredentialKey;

impl CredentialCache {
    /// Returns the hit of a key that gave `found`, for later ones without a minimal validity and a rejected credential. `None`: the
    /// storage has another entry by now.
    pub(crate) async fn cached_hit(&self, key: &CredentialKey, found: &Found) -> Option<CachedHit> {
        let entry = self.shared.store.get(key).await?;
        let is_same = Arc::ptr_eq(&entry.credential, &found.credential);
        is_same.then(|| CachedHit::new(key.clone(), &entry))
    }

    /// Returns what the hit would find now, and counts nothing. `None`: a lookup must decide.
    pub(crate) fn repeat(&self, hit: &CachedHit) -> Option<Repeat> {
        let (entry, at) = (hit.entry().filter(|entry| !entry.is_gone())?, self.shared.now());
        let (remaining, due_in) = (entry.credential.remaining(at), entry.due_in(at));
        let is_usable = Entry::lasts(remaining, self.shared.settings.safety_margin);
        if !is_usable || entry.status() != CacheStatus::Hit || due_in.is_zero() {
            return None;
        }
        let (credential, refresh_after) = (Arc::clone(&entry.credential), Entry::refresh_within(due_in, remaining));
        let found = Found { credential, status: CacheStatus::Hit, refresh_after, remaining };
        Some(Repeat { entry, found, at })
    }

    /// Counts a repeated hit as a lookup would, and notes the use for the order in which entries are evicted.
    pub(crate) fn count_repeat(&self, hit: &Arc<CachedHit>, repeat: &Repeat) {
        repeat.entry.uses.count(CacheStatus::Hit);
        self.shared.store.touches.note(hit, &repeat.entry);
    }
}
