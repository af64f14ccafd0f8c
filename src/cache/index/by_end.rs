//! The cached credentials in the order in which they end, so that health finds a usable one without a walk.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cache::entry::Entry;

/// Entries that a search looks at. The first one decides, unless the wall clock was stepped: then one that ends sooner on the monotonic
/// clock may last longer.
const SEARCHED: usize = 64;

/// Entries by their end on the monotonic clock, in nanoseconds. The address tells those with the same end apart.
#[derive(Debug, Default)]
pub(super) struct ByEnd(BTreeMap<(u64, usize), Arc<Entry>>);

impl ByEnd {
    pub(super) fn insert(&mut self, entry: &Arc<Entry>) {
        self.0.insert(place(entry), Arc::clone(entry));
    }

    pub(super) fn remove(&mut self, entry: &Arc<Entry>) {
        self.0.remove(&place(entry));
    }

    /// Returns whether one of the entries that end last is usable.
    pub(super) fn has(&self, is_usable: impl Fn(&Entry) -> bool) -> bool {
        self.0.values().rev().take(SEARCHED).any(|entry| is_usable(entry))
    }
}

fn place(entry: &Arc<Entry>) -> (u64, usize) {
    let end = u64::try_from(entry.credential.end().steady.as_nanos()).unwrap_or(u64::MAX);
    (end, Arc::as_ptr(entry).addr())
}
