//! Uses of entries in an order that moka has not seen, until the storage replays them.
//!
//! A hit that skips moka costs two atomic additions here. The first one of an entry since the last replay also takes a lock. A replay
//! is needed only before something may be evicted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::cached_hit::CachedHit;
use super::entry::Entry;
use crate::credential::CredentialKey;
use crate::sync::lock;

/// Entries that were used since the last replay, each once. It keeps no credential in memory.
#[derive(Debug, Default)]
pub(super) struct Touches {
    /// The number of the last use.
    last: AtomicU64,
    touched: Mutex<Vec<Arc<CachedHit>>>,
}

impl Touches {
    /// Notes a use of the entry of `hit`, which moka does not see.
    pub(super) fn note(&self, hit: &Arc<CachedHit>, entry: &Entry) {
        if self.number(entry) == 0 {
            lock(&self.touched).push(Arc::clone(hit));
        }
    }

    /// Notes a use that moka sees, if it has not seen some before. They would otherwise count as later ones.
    pub(super) fn note_after_others(&self, key: &CredentialKey, entry: &Arc<Entry>) {
        let mut touched = lock(&self.touched);
        if !touched.is_empty() && self.number(entry) == 0 {
            touched.push(Arc::new(CachedHit::new(key.clone(), entry)));
        }
    }

    /// Numbers a use that moka sees of an entry of a single caller. Its own order decides which of them is evicted.
    pub(super) fn stamp(&self, entry: &Entry) {
        entry.last_use.store(self.last.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Numbers a use of an entry, and returns the number of the use before it; zero: there is none since the last replay.
    fn number(&self, entry: &Entry) -> u64 {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        entry.last_use.store(number, Ordering::Relaxed);
        entry.touched.swap(number, Ordering::AcqRel)
    }

    /// Takes the entries in the order of their last uses, without those that were dropped.
    pub(super) fn take(&self) -> impl Iterator<Item = Arc<CachedHit>> + use<> {
        let touched = std::mem::take(&mut *lock(&self.touched));
        let number = |hit: &CachedHit| hit.entry().map(|entry| entry.touched.swap(0, Ordering::AcqRel));
        let mut touched: Vec<_> = touched.into_iter().filter_map(|hit| Some((number(&hit)?, hit))).collect();
        touched.sort_unstable_by_key(|(number, _)| *number);
        touched.into_iter().map(|(_, hit)| hit)
    }
}
