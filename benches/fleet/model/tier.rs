//! The shared tier: values and leases by credential, and its operations.

use super::fetcher::UnitId;
use super::outcome::Counts;

/// Time after which a lease without a renewal ends.
const LEASE: f64 = 3.0;
/// Time in which a fetching replica renews its lease once.
const RENEWAL: f64 = 1.0;

#[derive(Debug)]
pub(super) struct Tier {
    entries: Vec<Entry>,
    pub(super) operations: Counts,
}

#[derive(Debug, Clone)]
struct Entry {
    version: Option<u64>,
    lease: Option<Lease>,
    /// End of a note that AWS throttles.
    failed_until: f64,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    owner: UnitId,
    life: u32,
    since: f64,
}

/// The answer of `get_or_lease`.
#[derive(Debug, PartialEq)]
pub(super) enum TierAnswer {
    Value(u64),
    Leased,
    Held,
    FailedUntil(f64),
}

impl Tier {
    pub(super) fn new(units: usize) -> Self {
        let entry = Entry { version: None, lease: None, failed_until: f64::MIN };
        Self { entries: vec![entry; units], operations: Counts::default() }
    }

    /// Returns the value unless its version is `known`, or leases the entry. `is_alive` says whether the holder of a lease still runs.
    pub(super) fn get_or_lease(
        &mut self,
        (owner, life): (UnitId, u32),
        known: Option<u64>,
        is_alive: impl Fn(UnitId, u32) -> bool,
        now: f64,
    ) -> TierAnswer {
        self.operations.add(now, true);
        let entry = &mut self.entries[owner.unit as usize];
        if let Some(version) = entry.version.filter(|version| Some(*version) != known) {
            return TierAnswer::Value(version);
        }
        if entry.failed_until > now {
            return TierAnswer::FailedUntil(entry.failed_until);
        }
        let is_held = |lease: Lease| is_alive(lease.owner, lease.life) || now - lease.since < LEASE;
        if entry.lease.is_some_and(is_held) {
            return TierAnswer::Held;
        }
        entry.lease = Some(Lease { owner, life, since: now });
        TierAnswer::Leased
    }

    /// Stores a value and ends the lease.
    pub(super) fn put(&mut self, owner: UnitId, version: u64, now: f64) {
        self.end_lease(owner, now);
        self.entries[owner.unit as usize].version = Some(version);
    }

    /// Replaces the lease by a note.
    pub(super) fn fail(&mut self, owner: UnitId, until: f64, now: f64) {
        self.end_lease(owner, now);
        self.entries[owner.unit as usize].failed_until = until;
    }

    fn end_lease(&mut self, owner: UnitId, now: f64) {
        let lease = self.entries[owner.unit as usize].lease.take();
        let held = lease.map_or(0.0, |lease| now - lease.since);
        // The renewals of the time, and the operation that ends it.
        for renewal in 0..(held / RENEWAL) as u32 {
            self.operations.add(now - held + f64::from(renewal + 1) * RENEWAL, true);
        }
        self.operations.add(now, true);
    }
}
