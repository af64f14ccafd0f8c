//! Watched keys of one parent, and the watches that they are in.
//!
//! Pure state: the driver tells it the time and what happened, and opens and closes the streams that it names.
//!
//! - A key enters after a fetch through the parent. New keys are collected for a second and open a further watch.
//! - A watch has at most 100 keys. When one opens, it takes over smaller ones. Those close once its snapshot is complete, so that no
//!   key is without a watch meanwhile.
//! - A key leaves if it is no longer cached, if three pushed credentials in a row were not used, or if the parent denies it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::delays::{self, End};
use crate::credential::{CredentialId, CredentialKey};
use crate::protocol::MAX_REQUESTS;
use crate::source::push::{Adopted, Outcome};

/// Time for which new keys are collected.
const COLLECT: Duration = Duration::from_secs(1);
/// Open watches with room from which a watch of new keys takes them over.
const MAX_SMALL: usize = 2;
/// Pushed credentials in a row without a use in between, after which a key leaves.
const IDLE_PUSHES: u32 = 3;

/// Number of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WatchId(u64);

/// The watched keys and their watches.
#[derive(Debug)]
pub(super) struct WatchSet {
    keys: HashMap<CredentialKey, Watched>,
    max_keys: usize,
    new: Vec<CredentialKey>,
    collected_at: Option<Instant>,
    watches: BTreeMap<WatchId, Watch>,
    next_id: u64,
    /// Time before which the parent refuses watches.
    not_before: Option<Instant>,
    refusals: u32,
}

/// A watched key.
#[derive(Debug)]
struct Watched {
    known: CredentialId,
    /// Whether a watch has had the key's credential. Before, a denial says only that this broker cannot watch the key.
    is_confirmed: bool,
    uses: u64,
    idle_pushes: u32,
}

#[derive(Debug)]
struct Watch {
    /// Keys by their index in the watch: its own, and after them those of the watches that it takes over.
    keys: Vec<CredentialKey>,
    own: usize,
    takes_over: Vec<WatchId>,
    state: State,
    /// Attempts without a snapshot since the last one.
    attempts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The watch opens again at this time.
    Waiting(Instant),
    /// The snapshot is not complete.
    Opening,
    Open,
}

/// A watch to open.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ToOpen {
    pub(super) id: WatchId,
    /// Its keys, each with the credential that is cached.
    pub(super) keys: Vec<(CredentialKey, CredentialId)>,
}

impl WatchSet {
    /// Returns an empty set of at most `max_keys` keys.
    pub(super) fn new(max_keys: usize) -> Self {
        Self {
            keys: HashMap::new(),
            max_keys,
            new: Vec::new(),
            collected_at: None,
            watches: BTreeMap::new(),
            next_id: 0,
            not_before: None,
            refusals: 0,
        }
    }

    /// Watches a key whose credential was fetched.
    pub(super) fn add(&mut self, key: CredentialKey, known: CredentialId, now: Instant) {
        if let Some(watched) = self.keys.get_mut(&key) {
            watched.known = known;
            return;
        }
        if self.keys.len() >= self.max_keys {
            return;
        }
        let is_in_a_watch = self.watches.values().any(|watch| watch.keys[..watch.own].contains(&key));
        self.keys.insert(key.clone(), Watched { known, is_confirmed: false, uses: 0, idle_pushes: 0 });
        if !is_in_a_watch {
            self.new.push(key);
            self.collected_at.get_or_insert(now + COLLECT);
        }
    }

    /// Returns the next watch that should be opened now.
    pub(super) fn next_to_open(&mut self, now: Instant) -> Option<ToOpen> {
        if self.not_before.is_some_and(|at| at > now) {
            return None;
        }
        if self.collected_at.is_some_and(|at| at <= now) {
            let keys = self.take_new(MAX_REQUESTS);
            if !keys.is_empty() {
                let small = self.smaller_open();
                let takes_over = if small.len() < MAX_SMALL { Vec::new() } else { small };
                let id = WatchId(self.next_id);
                self.next_id += 1;
                return Some(self.open(id, keys, takes_over, 0));
            }
        }
        let due = |watch: &Watch| matches!(watch.state, State::Waiting(at) if at <= now);
        let reserved = self.reserved();
        let id = *self.watches.iter().find(|(id, watch)| due(watch) && !reserved.contains(id))?.0;
        self.reopen(id)
    }

    /// Opens a watch again, with the keys of others that wait, and with new ones.
    fn reopen(&mut self, id: WatchId) -> Option<ToOpen> {
        let Watch { mut keys, attempts, .. } = self.watches.remove(&id)?;
        keys.retain(|key| self.keys.contains_key(key));
        for other in self.waiting() {
            if keys.len() + self.count(other) <= MAX_REQUESTS
                && let Some(mut other) = self.watches.remove(&other)
            {
                other.keys.retain(|key| self.keys.contains_key(key) && !keys.contains(key));
                keys.append(&mut other.keys);
            }
        }
        keys.append(&mut self.take_new(MAX_REQUESTS - keys.len()));
        let small = self.smaller_open();
        (!keys.is_empty()).then(|| self.open(id, keys, small, attempts))
    }

    fn open(&mut self, id: WatchId, mut keys: Vec<CredentialKey>, small: Vec<WatchId>, attempts: u32) -> ToOpen {
        let (own, mut takes_over) = (keys.len(), Vec::new());
        for other in small {
            if keys.len() + self.count(other) <= MAX_REQUESTS
                && let Some(watch) = self.watches.get(&other)
            {
                let moved = watch.keys.iter().filter(|key| self.keys.contains_key(*key) && !keys[..own].contains(*key));
                keys.extend(moved.cloned().collect::<Vec<_>>());
                takes_over.push(other);
            }
        }
        let known = |key: &CredentialKey| Some((key.clone(), self.keys.get(key)?.known));
        let to_open = ToOpen { id, keys: keys.iter().filter_map(known).collect() };
        self.watches.insert(id, Watch { keys, own, takes_over, state: State::Opening, attempts });
        to_open
    }

    /// Returns the time at which [`Self::next_to_open`] may return the next watch.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let reserved = self.reserved();
        let waiting = self.watches.iter().filter_map(|(id, watch)| match watch.state {
            State::Waiting(at) if !reserved.contains(id) => Some(at),
            _ => None,
        });
        let next = waiting.chain(self.collected_at).min()?;
        Some(self.not_before.map_or(next, |at| at.max(next)))
    }

    /// Returns the key at an index of a watch, unless it has left.
    pub(super) fn key(&self, id: WatchId, index: usize) -> Option<&CredentialKey> {
        self.watches.get(&id)?.keys.get(index).filter(|key| self.keys.contains_key(*key))
    }

    /// Returns whether a watch has had the key's credential.
    pub(super) fn is_confirmed(&self, key: &CredentialKey) -> bool {
        self.keys.get(key).is_some_and(|watched| watched.is_confirmed)
    }

    /// Notes what became of an update: `pushed` is the ID of its credential, if it had one. Returns the watches to close.
    pub(super) fn adopted(
        &mut self,
        key: &CredentialKey,
        pushed: Option<CredentialId>,
        Adopted { outcome, uses }: Adopted,
    ) -> Vec<WatchId> {
        let Some(watched) = self.keys.get_mut(key) else { return Vec::new() };
        watched.is_confirmed |= pushed.is_some();
        if let (Some(pushed), Outcome::Replaced | Outcome::Confirmed) = (pushed, outcome) {
            watched.known = pushed;
        }
        if outcome == Outcome::Replaced {
            watched.idle_pushes = if uses == watched.uses { watched.idle_pushes + 1 } else { 0 };
            watched.uses = uses;
        }
        if watched.idle_pushes >= IDLE_PUSHES || matches!(outcome, Outcome::Absent | Outcome::Dropped) {
            return self.remove(key);
        }
        Vec::new()
    }

    /// Lets a key leave. Returns the watches that have no other key, which must be closed.
    pub(super) fn remove(&mut self, key: &CredentialKey) -> Vec<WatchId> {
        self.keys.remove(key);
        self.new.retain(|new| new != key);
        let empty: Vec<_> = self.watches.keys().copied().filter(|id| self.count(*id) == 0).collect();
        for id in &empty {
            self.watches.remove(id);
        }
        empty
    }

    /// Notes that the snapshot of a watch is complete. Returns the watches that it has taken over, which must be closed.
    pub(super) fn opened(&mut self, id: WatchId, now: Instant) -> Vec<WatchId> {
        (self.refusals, self.not_before) = (0, None);
        let Some(watch) = self.watches.get_mut(&id) else { return Vec::new() };
        (watch.state, watch.attempts, watch.own) = (State::Open, 0, watch.keys.len());
        let taken_over = std::mem::take(&mut watch.takes_over);
        let watched = watch.keys.clone();
        self.new.retain(|key| !watched.contains(key));
        for other in taken_over.iter().filter_map(|other| self.watches.remove(other)) {
            // A key that left before the watch opened, and that came back since.
            let left_out = other.keys.into_iter().filter(|key| self.keys.contains_key(key) && !watched.contains(key));
            self.new.extend(left_out);
        }
        if !self.new.is_empty() {
            self.collected_at.get_or_insert(now + COLLECT);
        }
        taken_over
    }

    /// Schedules the reconnect of a watch that ended or did not open.
    pub(super) fn ended(&mut self, id: WatchId, end: End, now: Instant) {
        if self.watches.contains_key(&id) && self.count(id) == 0 {
            self.watches.remove(&id);
        }
        let Some(watch) = self.watches.get_mut(&id).filter(|watch| !matches!(watch.state, State::Waiting(_))) else {
            return;
        };
        // Those that it was to take over have their own streams.
        watch.keys.truncate(watch.own);
        watch.takes_over.clear();
        let delay = delays::reconnect_after(end, watch.attempts);
        watch.attempts = if watch.state == State::Open { 0 } else { watch.attempts.saturating_add(1) };
        watch.state = State::Waiting(now + delay);
        if let End::Refused { retry_after } = end {
            self.not_before = Some(now + delays::refused_for(retry_after, self.refusals));
            self.refusals = self.refusals.saturating_add(1);
        }
    }

    /// Returns the number of watched keys.
    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Returns the number of open watches.
    pub(super) fn open_watches(&self) -> usize {
        self.watches.values().filter(|watch| watch.state == State::Open).count()
    }

    /// Takes up to `count` of the new keys.
    fn take_new(&mut self, count: usize) -> Vec<CredentialKey> {
        let taken: Vec<_> = self.new.drain(..self.new.len().min(count)).collect();
        if self.new.is_empty() {
            self.collected_at = None;
        }
        taken
    }

    /// Returns the watches that wait, the smallest first.
    fn waiting(&self) -> Vec<WatchId> {
        self.smallest_first(|watch| matches!(watch.state, State::Waiting(_)))
    }

    /// Returns the open watches with room, the smallest first.
    fn smaller_open(&self) -> Vec<WatchId> {
        let mut small = self.smallest_first(|watch| watch.state == State::Open);
        small.retain(|id| self.count(*id) < MAX_REQUESTS);
        small
    }

    /// Returns the watches that others are about to take over. They stay as they are until then.
    fn reserved(&self) -> Vec<WatchId> {
        self.watches.values().flat_map(|watch| &watch.takes_over).copied().collect()
    }

    /// Returns the watches that are not reserved, the smallest first.
    fn smallest_first(&self, is_wanted: impl Fn(&Watch) -> bool) -> Vec<WatchId> {
        let reserved = self.reserved();
        let wanted = self.watches.iter().filter(|(id, watch)| is_wanted(watch) && !reserved.contains(id));
        let mut ids: Vec<_> = wanted.map(|(id, _)| *id).collect();
        ids.sort_by_key(|id| self.count(*id));
        ids
    }

    /// Returns the number of a watch's keys that have not left.
    fn count(&self, id: WatchId) -> usize {
        let keys = self.watches.get(&id).map(|watch| watch.keys.as_slice()).unwrap_or_default();
        keys.iter().filter(|key| self.keys.contains_key(*key)).count()
    }
}

#[cfg(test)]
mod tests;
