//! Metrics of the shared cache's fetches and values.

use super::envelope::EnvelopeError;
use super::fault::Fault;
use crate::metrics::{Counter, Family, Registry, labels};

labels! {
    /// How a fetch used the tier.
    pub(super) enum Outcome: "outcome" {
        /// Another broker's credential was used.
        Found = "found",
        /// The source's credential was stored.
        Stored = "stored",
        /// The source's credential was not stored: it ends soon, or the lease was lost.
        NotStored = "not_stored",
        /// The source failed.
        Failed = "failed",
        /// The source has just failed another broker.
        PeerFailed = "peer_failed",
        /// The source was called without a lease: the tier failed, or another broker took too long.
        Alone = "alone",
    }
}

labels! {
    /// Why a value was refused.
    enum Reason: "reason" {
        UnknownFormat = "unknown_format",
        UnknownKey = "unknown_key",
        Changed = "changed",
        Malformed = "malformed",
        Expired = "expired",
        Clock = "clock",
        Minter = "minter",
    }
}

/// Metrics of the fetches through a shared cache. A clone is a handle of the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    fetches: Family<Outcome, Counter>,
    refused: Family<Reason, Counter>,
}

impl Metrics {
    /// Registers the metrics.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let fetches = "Fetches by how they used the shared cache";
        let refused = "Values of the shared cache that were not used, and replaced";
        Self {
            fetches: registry.counters("ecr_broker_shared_cache_fetches_total", fetches),
            refused: registry.counters("ecr_broker_shared_cache_values_refused_total", refused),
        }
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.fetches.with(outcome).inc();
    }

    pub(super) fn refused(&self, fault: Fault) {
        self.refused.with(fault.into()).inc();
    }
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Envelope(EnvelopeError::UnknownFormat) => Self::UnknownFormat,
            Fault::Envelope(EnvelopeError::UnknownKey(_)) => Self::UnknownKey,
            Fault::Envelope(EnvelopeError::Changed(_)) => Self::Changed,
            Fault::Malformed => Self::Malformed,
            Fault::Expired => Self::Expired,
            Fault::Clock => Self::Clock,
            Fault::Minter => Self::Minter,
        }
    }
}
