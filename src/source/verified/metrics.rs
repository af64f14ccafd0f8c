//! Metrics of the questions to registries.

use crate::metrics::{Counter, Family, Registry, labels};

labels! {
    /// What a registry said of a new credential.
    pub(super) enum Outcome: "result" {
        /// It accepts the credential.
        Accepted = "accepted",
        /// It refuses the credential.
        Refused = "refused",
        /// Its answer says nothing about the credential: a server error, a redirect, any other status.
        Inconclusive = "inconclusive",
        /// It did not answer.
        Unreachable = "unreachable",
    }
}

/// Metrics of the questions to registries. A clone is a handle of the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    asked: Family<Outcome, Counter>,
}

impl Metrics {
    /// Registers the metrics.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let asked = "New credentials that were tried at their registries";
        Self { asked: registry.counters("ecr_broker_verifications_total", asked) }
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.asked.with(outcome).inc();
    }
}

impl Outcome {
    /// Returns what the status of an answer says.
    pub(super) fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Accepted,
            401 | 403 => Self::Refused,
            _ => Self::Inconclusive,
        }
    }
}
