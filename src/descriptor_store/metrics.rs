//! Metrics and state of the store.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use crate::metrics::{Counter, Family, Registry, labels};
use crate::sync::lock;

labels! {
    /// What became of a credential in the store at the start.
    pub(super) enum Outcome: "outcome" {
        /// It is in the cache again.
        Restored = "restored",
        /// It has expired, or nearly.
        Expired = "expired",
        /// Its profile is gone or has changed.
        OtherProfile = "profile",
        /// The AWS settings have changed.
        OtherConfiguration = "configuration",
        /// It is of another boot or clock.
        OtherClock = "clock",
        /// The cache has no room for it.
        NoRoom = "no_room",
        /// It cannot be read.
        Unreadable = "unreadable",
    }
}

impl Outcome {
    /// Those of credentials that are not in the cache again.
    const DROPPED: [Self; 6] =
        [Self::Expired, Self::OtherProfile, Self::OtherConfiguration, Self::OtherClock, Self::NoRoom, Self::Unreadable];
}

labels! {
    enum WriteResult: "result" {
        Success = "success",
        Failure = "failure",
    }
}

/// The state of the store since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreStatus {
    /// The newest copy, once one was written.
    pub written: Option<Written>,
    /// Writes that failed.
    pub failed: u64,
    /// Credentials that were cached at the start.
    pub restored: u64,
    /// Credentials that were dropped at the start.
    pub dropped: u64,
}

/// Metrics of the store. A clone is a handle of the same.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    found: Family<Outcome, Counter>,
    writes: Family<WriteResult, Counter>,
    last: Arc<Mutex<Option<Written>>>,
}

/// The newest copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// When it was written.
    pub time: SystemTime,
    /// Number of its credentials.
    pub credentials: usize,
    /// Its size.
    pub bytes: usize,
}

impl Metrics {
    /// Registers the metrics, also for a broker without a store.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let found = "Credentials in the descriptor store at the start, by what became of them";
        let metrics = Self {
            found: registry.counters("ecr_broker_descriptor_store_credentials_total", found),
            writes: registry.counters("ecr_broker_descriptor_store_writes_total", "Writes of the descriptor store"),
            last: Arc::default(),
        };
        let last = Arc::clone(&metrics.last);
        registry.on_scrape(move |scrape| {
            let last = *lock(&last);
            let (kept, size) = ("Credentials in the descriptor store", "Size of the descriptor store's newest copy");
            scrape.gauge("ecr_broker_descriptor_store_kept", kept, last.map_or(0, |last| last.credentials as u64))?;
            scrape.gauge("ecr_broker_descriptor_store_bytes", size, last.map_or(0, |last| last.bytes as u64))
        });
        metrics
    }

    pub(super) fn found(&self, outcome: Outcome, count: u64) {
        self.found.with(outcome).add(count);
    }

    pub(super) fn count_of(&self, outcome: Outcome) -> u64 {
        self.found.with(outcome).get()
    }

    pub(super) fn status(&self) -> StoreStatus {
        let count_of = |outcome: &Outcome| self.count_of(*outcome);
        StoreStatus {
            written: *lock(&self.last),
            failed: self.writes.with(WriteResult::Failure).get(),
            restored: count_of(&Outcome::Restored),
            dropped: Outcome::DROPPED.iter().map(count_of).sum(),
        }
    }

    pub(super) fn written(&self, written: Written) {
        self.writes.with(WriteResult::Success).inc();
        *lock(&self.last) = Some(written);
    }

    pub(super) fn write_failed(&self) {
        self.writes.with(WriteResult::Failure).inc();
    }
}
