//! A broker that asks AWS: its cache, and its fetches.

use super::admission::Lane;

/// A credential of a broker that asks AWS: one for each registry, or for each region if a token opens all of its registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnitId {
    pub(super) fetcher: u32,
    pub(super) unit: u32,
}

/// A node that waits for a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter {
    pub(super) node: u32,
    pub(super) key: u32,
    pub(super) life: u32,
}

/// A node's broker, or a central one.
#[derive(Debug)]
pub(super) struct Fetcher {
    /// Counts the starts.
    pub(super) life: u32,
    pub(super) units: Vec<Unit>,
    /// By region; the last one is that of ECR Public.
    pub(super) lanes: Vec<Lane>,
    /// Time at which the processor has answered what came before.
    pub(super) busy_until: f64,
    units_of: usize,
}

/// A credential, and the fetch that gets the next one.
#[derive(Debug, Default)]
pub(super) struct Unit {
    pub(super) held: Option<Held>,
    pub(super) is_fetching: bool,
    pub(super) waiters: Vec<Waiter>,
    pub(super) failures: u32,
    /// Attempts to get the value that another replica fetches.
    pub(super) polls: u32,
    pub(super) call_started: f64,
    pub(super) session_until: f64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// Number of the token in the whole fleet.
    pub(super) version: u64,
    pub(super) refresh_at: f64,
    pub(super) expires: f64,
}

impl Fetcher {
    pub(super) fn new(units: usize, lanes: usize) -> Self {
        let mut new = Self { life: 0, units: Vec::new(), lanes: Vec::new(), busy_until: f64::MIN, units_of: units };
        new.lanes.resize_with(lanes, Lane::default);
        new.units.resize_with(units, Unit::default);
        new
    }

    /// Starts again with an empty cache.
    pub(super) fn restart(&mut self) {
        let (life, lanes) = (self.life + 1, self.lanes.len());
        *self = Self { life, busy_until: self.busy_until, ..Self::new(self.units_of, lanes) };
    }
}

impl Unit {
    pub(super) fn usable(&self, now: f64) -> Option<Held> {
        self.held.filter(|held| held.expires > now)
    }
}
