//! The credentials that belong into a Secret: the newer one of each registry, in the Secret or from the watch.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::SystemTime;

use super::held::Held;
use crate::cli::sync::auth_entries::{AuthEntries, AuthEntry};
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
}

/// The entries of the watch, and what decides between them and those of a Secret.
pub(super) struct Wanted<'a> {
    pub(super) entries: &'a AuthEntries,
    pub(super) known: &'a KnownIds,
    /// Requested hosts; empty: all registries that the caller's grants name.
    pub(super) requested: &'a BTreeSet<String>,
    pub(super) now: Moment,
}

impl Wanted<'_> {
    /// Returns the credentials that the Secret should have.
    pub(super) fn merged(&self, mut stored: BTreeMap<String, Held>) -> BTreeMap<String, Held> {
        let now = seconds(self.now.wall);
        stored.retain(|host, held| held.end > now && (self.requested.is_empty() || self.requested.contains(host)));
        // An entry in its last second counts as expired, as the stored one does: otherwise each removal would add it again at once.
        let live = self.entries.iter().map(|(host, entry)| (host, entry, seconds(entry.expiry())));
        for (host, entry, end) in live.filter(|(.., end)| *end > now) {
            let is_kept = stored.get(host).is_some_and(|held| self.is_as_fresh(host, held, entry, end));
            if !is_kept {
                stored.insert(host.clone(), Held::new(entry, end));
            }
        }
        stored
    }

    /// Returns whether a stored credential is ours, or one that another sync wrote and that lasts as long: of two syncs with credentials
    /// of one end, neither replaces the other's. One that our own watch replaced is neither, even if it lasts longer: the broker may have
    /// reason to replace it. Nor is one of another profile: this sync may have been given a narrower one.
    fn is_as_fresh(&self, host: &str, stored: &Held, entry: &AuthEntry, end: u64) -> bool {
        let lasts = stored.end >= end && !self.known.is_superseded(host, &stored.id);
        stored.id == entry.id || lasts && stored.profile == entry.profile
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
