//! The unproved connections by age and by origin, and which of them ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use tracing::warn;

use super::end::End;
use crate::clock::Clock;
use crate::limits::hits::{LimitHits, LimitName};
use crate::limits::origin::Origin;
use crate::limits::status::Used;
use crate::log_throttle::{self, LogThrottle};
use crate::sync::lock;

/// Memory for the calls of all unproved connections together, beside that of the connections.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of requests that a peer may send before the broker reads them: the connection window.
pub(super) const MAX_UNREAD: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Registry {
    limit: usize,
    /// The setting that changes the limit, if there is one.
    setting: Option<&'static str>,
    clock: Arc<dyn Clock>,
    open: Mutex<Open>,
    full: LogThrottle,
    out_of_memory: LogThrottle,
    hits: LimitHits,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: BTreeMap<u64, Entry>,
    by_origin: HashMap<Origin, Share>,
    bytes: usize,
    /// Connections that were told to end, and have not ended.
    ending: BTreeMap<u64, End>,
}

#[derive(Debug)]
struct Entry {
    origin: Origin,
    usage: Usage,
    end: End,
}

/// What the connections of an origin use.
#[derive(Debug, Default)]
struct Share {
    connections: usize,
    bytes: usize,
}

/// The memory of a connection's calls.
#[derive(Debug, Default)]
pub(super) struct Usage {
    pub(super) calls: usize,
    unread: usize,
}

impl Usage {
    pub(super) fn note_received(&mut self, bytes: usize) {
        self.unread = (self.unread + bytes).min(MAX_UNREAD);
    }

    pub(super) fn note_read(&mut self, bytes: usize) {
        self.unread = self.unread.saturating_sub(bytes);
    }

    /// Without a call no message waits to be read.
    pub(super) fn end_call(&mut self, bytes: usize, is_last: bool) {
        self.calls -= bytes;
        if is_last {
            self.unread = 0;
        }
    }

    fn bytes(&self) -> usize {
        self.calls + self.unread
    }
}

impl Registry {
    pub(super) fn new(limit: usize, setting: Option<&'static str>, clock: Arc<dyn Clock>, hits: LimitHits) -> Self {
        let (open, full, out_of_memory) = (Mutex::default(), LogThrottle::default(), LogThrottle::default());
        Self { limit, setting, clock, open, full, out_of_memory, hits }
    }

    /// Starts with no connection and with a limit that no setting changes.
    pub(super) fn of_limit(&self, limit: usize) -> Self {
        Self::new(limit, None, Arc::clone(&self.clock), self.hits.clone())
    }

    /// Adds a connection, and returns its number. Above three quarters of the limit one other connection is asked to end; at the
    /// limit one that has not ended by then is closed.
    pub(super) fn enter(&self, origin: Origin, end: End) -> u64 {
        let mut open = lock(&self.open);
        if open.connections.len() >= (self.limit - self.limit / 4).max(1) {
            open.retire_one();
            self.report_full();
        }
        if open.connections.len() + open.ending.len() >= self.limit {
            open.abort_one_ending();
        }
        open.add(origin, end)
    }

    /// Returns the number of open connections, and their maximum.
    pub(super) fn used(&self) -> Used {
        let open = lock(&self.open);
        Used { used: open.connections.len() + open.ending.len(), max: self.limit }
    }

    /// Forgets a connection that is proved or has ended.
    pub(super) fn leave(&self, id: u64) {
        let mut open = lock(&self.open);
        open.remove(id);
        open.ending.remove(&id);
    }

    /// Changes the usage of a connection. Closes the one that uses most, of the origin that uses most, if all together use too much.
    pub(super) fn update(&self, id: u64, change: impl FnOnce(&mut Usage)) {
        let mut open = lock(&self.open);
        open.update(id, change);
        if open.bytes > MAX_BYTES {
            open.abort_largest();
            self.report_out_of_memory();
        }
    }

    fn report_full(&self) {
        self.hits.count(LimitName::UnprovedConnections);
        if self.full.is_due(self.clock.now().steady) {
            let (limit, setting) = (self.limit, self.setting);
            let suppressed_for = humantime::format_duration(log_throttle::INTERVAL);
            warn!(limit, setting, %suppressed_for, "connection closed: too many without authentication");
        }
    }

    fn report_out_of_memory(&self) {
        self.hits.count(LimitName::UnprovedMemory);
        if self.out_of_memory.is_due(self.clock.now().steady) {
            let suppressed_for = humantime::format_duration(log_throttle::INTERVAL);
            warn!(limit_bytes = MAX_BYTES, %suppressed_for, "connection closed: too much memory without authentication");
        }
    }
}

impl Open {
    fn add(&mut self, origin: Origin, end: End) -> u64 {
        let id = self.next;
        self.next += 1;
        self.connections.insert(id, Entry { origin, usage: Usage::default(), end });
        self.by_origin.entry(origin).or_default().connections += 1;
        id
    }

    fn remove(&mut self, id: u64) -> Option<End> {
        self.update(id, |usage| *usage = Usage::default());
        let Entry { origin, end, .. } = self.connections.remove(&id)?;
        if let Some(share) = self.by_origin.get_mut(&origin) {
            share.connections -= 1;
            if share.connections == 0 {
                self.by_origin.remove(&origin);
            }
        }
        Some(end)
    }

    fn update(&mut self, id: u64, change: impl FnOnce(&mut Usage)) {
        let Some(Entry { origin, usage, .. }) = self.connections.get_mut(&id) else { return };
        let before = usage.bytes();
        change(usage);
        let after = usage.bytes();
        self.bytes = self.bytes - before + after;
        if let Some(share) = self.by_origin.get_mut(origin) {
            share.bytes = share.bytes - before + after;
        }
    }

    /// Asks the oldest connection of the origin with the most connections to end.
    fn retire_one(&mut self) {
        let most = self.by_origin.values().map(|share| share.connections).max().unwrap_or_default();
        let has_most = |entry: &Entry| self.by_origin.get(&entry.origin).is_some_and(|it| it.connections == most);
        let Some(id) = self.connections.iter().find_map(|(id, entry)| has_most(entry).then_some(*id)) else { return };
        if let Some(end) = self.remove(id) {
            end.retire.cancel();
            self.ending.insert(id, end);
        }
    }

    fn abort_one_ending(&mut self) {
        if let Some((_, end)) = self.ending.pop_first() {
            end.abort.cancel();
        }
    }

    /// Closes the largest connection of the origin with the most memory. It is not asked first: it keeps its memory until it ends.
    fn abort_largest(&mut self) {
        let Some((origin, _)) = self.by_origin.iter().max_by_key(|(_, share)| share.bytes) else { return };
        let of_origin = self.connections.iter().filter(|(_, entry)| entry.origin == *origin);
        let largest = of_origin.max_by_key(|(_, entry)| entry.usage.bytes()).map(|(id, _)| *id);
        if let Some(end) = largest.and_then(|id| self.remove(id)) {
            end.abort.cancel();
        }
    }
}
