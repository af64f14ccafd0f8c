//! The credentials that belong into a Secret: the newer one of each registry, in the Secret or from the watch.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::SystemTime;

use super::held::Held;
use super::memory::Memory;
use crate::cli::sync::auth_entries::AuthEntries;
use crate::moment::Moment;

/// Remembered IDs of each registry.
const MAX_SUPERSEDED: usize = 16;

/// The IDs of the credentials that the watch has sent.
#[derive(Debug, Default)]
pub(super) struct KnownIds {
    current: BTreeMap<String, String>,
    superseded: BTreeMap<String, VecDeque<String>>,
}

impl KnownIds {
    /// Remembers the IDs of the entries, and returns whether they differ from the last ones.
    pub(super) fn observe(&mut self, entries: &AuthEntries) -> bool {
        let now: BTreeMap<_, _> = entries.iter().map(|(host, entry)| (host.clone(), entry.id.clone())).collect();
        let replaced = self.current.iter().filter(|(host, id)| now.get(*host).is_some_and(|new| new != *id));
        for (host, id) in replaced {
            let ids = self.superseded.entry(host.clone()).or_default();
            ids.push_back(id.clone());
            if ids.len() > MAX_SUPERSEDED {
                ids.pop_front();
            }
        }
        let has_changed = now != self.current;
        self.current = now;
        has_changed
    }

    fn is_superseded(&self, host: &str, id: &str) -> bool {
        self.superseded.get(host).is_some_and(|ids| ids.iter().any(|known| known == id))
    }

    /// Returns whether the watch has replaced a credential of any registry.
    pub(super) fn has_superseded(&self, id: &str) -> bool {
        self.superseded.values().flatten().any(|known| known == id)
    }
}

/// The entries of the watch, and what decides between them and those of a Secret.
pub(super) struct Wanted<'a> {
    pub(super) entries: &'a AuthEntries,
    pub(super) known: &'a KnownIds,
    /// Requested hosts; empty: all registries that the caller's grants name.
    pub(super) requested: &'a BTreeSet<String>,
    pub(super) now: Moment,
}

/// The credentials that a Secret should have.
#[derive(Default)]
pub(super) struct Merged {
    pub(super) held: BTreeMap<String, Held>,
    /// IDs of stored credentials that are replaced only because the watch has superseded them.
    pub(super) replaced: Vec<String>,
}

impl Wanted<'_> {
    /// Returns the credentials that the Secret should have.
    pub(super) fn merged(&self, mut stored: BTreeMap<String, Held>, memory: &Memory) -> Merged {
        let now = seconds(self.now.wall);
        stored.retain(|host, held| held.end > now && (self.requested.is_empty() || self.requested.contains(host)));
        let mut merged = Merged { held: stored, replaced: Vec::new() };
        // An entry in its last second counts as expired, as the stored one does: otherwise each removal would add it again at once.
        let live = self.entries.iter().map(|(host, entry)| (host, entry, seconds(entry.expiry())));
        for (host, entry, end) in live.filter(|(.., end)| *end > now) {
            merged.add(host, Held::new(entry, end), self.known, memory);
        }
        merged
    }
}

impl Merged {
    fn add(&mut self, host: &str, new: Held, known: &KnownIds, memory: &Memory) {
        if let Some(stored) = self.held.get(host).filter(|stored| new.may_leave(stored)) {
            // The broker may have reason to replace a credential by one that expires sooner.
            if stored.id == new.id || !known.is_superseded(host, &stored.id) || memory.has_replaced(&stored.id) {
                return;
            }
            self.replaced.push(stored.id.clone());
        }
        self.held.insert(host.to_owned(), new);
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
