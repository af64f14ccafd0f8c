//! The unproved connections by age and by origin, and which of them makes room for another.

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

#[derive(Debug)]
pub(super) struct Registry {
    limit: usize,
    /// The setting that changes the limit, if there is one.
    setting: Option<&'static str>,
    clock: Arc<dyn Clock>,
    open: Mutex<Open>,
    log: LogThrottle,
    hits: LimitHits,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: BTreeMap<u64, Entry>,
    /// The number of an origin's connections.
    by_origin: HashMap<Origin, usize>,
    /// Connections that were told to end, and have not ended.
    ending: BTreeMap<u64, End>,
}

#[derive(Debug)]
struct Entry {
    origin: Origin,
    end: End,
}

impl Registry {
    pub(super) fn new(limit: usize, setting: Option<&'static str>, clock: Arc<dyn Clock>, hits: LimitHits) -> Self {
        Self { limit, setting, clock, open: Mutex::default(), log: LogThrottle::default(), hits }
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

    fn report_full(&self) {
        self.hits.count(LimitName::UnprovedConnections);
        if self.log.is_due(self.clock.now().steady) {
            let (limit, setting) = (self.limit, self.setting);
            let suppressed_for = humantime::format_duration(log_throttle::INTERVAL);
            warn!(limit, setting, %suppressed_for, "connection closed: too many without authentication");
        }
    }
}

impl Open {
    fn add(&mut self, origin: Origin, end: End) -> u64 {
        let id = self.next;
        self.next += 1;
        self.connections.insert(id, Entry { origin, end });
        *self.by_origin.entry(origin).or_default() += 1;
        id
    }

    fn remove(&mut self, id: u64) -> Option<End> {
        let Entry { origin, end } = self.connections.remove(&id)?;
        if let Some(count) = self.by_origin.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                self.by_origin.remove(&origin);
            }
        }
        Some(end)
    }

    /// Asks the oldest connection of the origin with the most connections to end.
    fn retire_one(&mut self) {
        let most = self.by_origin.values().copied().max().unwrap_or_default();
        let has_most = |entry: &Entry| self.by_origin.get(&entry.origin) == Some(&most);
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
}
