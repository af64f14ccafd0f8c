//! Metrics of released credentials.

use std::sync::Arc;

use super::released::Released;
use crate::cache::{CacheStatus, Found};
use crate::error::BrokerError;
use crate::metrics::{Buckets, Counter, Family, Histogram, Registry, labels};

labels! {
    /// How a request for a credential ended.
    enum Outcome: "outcome" {
        /// Released from the cache.
        Hit = "hit",
        /// Released from a fetch that the request started.
        Miss = "miss",
        /// Released from another request's fetch.
        Coalesced = "coalesced",
        /// Released from the cache, after a failed refresh.
        Stale = "stale",
        /// Denied by the grants.
        Denied = "denied",
        /// Failed, or given up by its caller.
        Error = "error",
    }
}

/// Metrics of released credentials.
#[derive(Debug)]
pub(super) struct Metrics {
    outcomes: Family<Outcome, Counter>,
    remaining: Histogram,
}

/// A request that has not ended. Dropping it counts how it did.
#[derive(Debug)]
pub(crate) struct Attempt {
    metrics: Arc<Metrics>,
    outcome: Outcome,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let remaining = "Validity that was left when a credential was released";
        Self {
            outcomes: registry.counters("ecr_broker_credentials_total", "Requests for a credential, by their outcome"),
            remaining: registry.histogram("ecr_broker_credential_remaining_seconds", remaining, Buckets::VALIDITY),
        }
    }

    /// Begins a request, which fails unless it is released or denied.
    pub(super) fn begin(self: &Arc<Self>) -> Attempt {
        Attempt { metrics: Arc::clone(self), outcome: Outcome::Error }
    }
}

impl Attempt {
    /// Ends the request with a released credential.
    pub(crate) fn release(mut self, found: &Found) {
        self.outcome = match found.status {
            CacheStatus::Hit => Outcome::Hit,
            CacheStatus::Miss => Outcome::Miss,
            CacheStatus::Coalesced => Outcome::Coalesced,
            CacheStatus::Stale => Outcome::Stale,
        };
        self.metrics.remaining.observe(found.remaining);
    }

    /// Ends the request with its result.
    pub(super) fn end(mut self, result: &Result<Released, BrokerError>) {
        match result {
            Ok(released) => self.release(&released.found),
            Err(error) => self.fail(error),
        }
    }

    /// Notes why the request fails.
    pub(super) fn fail(&mut self, error: &BrokerError) {
        if matches!(error, BrokerError::CallerNotAllowed) {
            self.outcome = Outcome::Denied;
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.metrics.outcomes.with(self.outcome).inc();
    }
}
