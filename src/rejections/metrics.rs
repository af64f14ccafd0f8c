//! Metric of denials.

use super::kind::Kind;
use crate::audit::Proof;
use crate::metrics::{Counter, Family, Registry, labels};

labels! {
    /// Why a peer or a caller was denied.
    enum Reason: "reason" {
        /// No grant allows the request, or one denies it.
        NotAllowed = "not_allowed",
        /// The same, but the policy is only observed.
        Observed = "observed",
        /// The peer proved nothing.
        NoProof = "no_proof",
        /// Its client certificate was rejected.
        Certificate = "certificate",
        /// Its bearer token was rejected.
        Token = "token",
        /// The token of a caller that a child broker forwards was rejected.
        Forwarded = "forwarded",
        /// It does not know the secret of the ECR API.
        Secret = "secret",
    }
}

/// Metric of denials.
#[derive(Debug)]
pub(super) struct Metrics(Family<Reason, Counter>);

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self(registry.counters("ecr_broker_denials_total", "Requests and peers that were denied"))
    }

    /// Counts a denial. Other rejections are errors of their calls.
    pub(super) fn count(&self, kind: Kind) {
        let reason = match kind {
            Kind::Denied => Reason::NotAllowed,
            Kind::Observed => Reason::Observed,
            Kind::Unauthenticated(Proof::None, _) => Reason::NoProof,
            Kind::Unauthenticated(Proof::Certificate, _) => Reason::Certificate,
            Kind::Unauthenticated(Proof::Token, _) => Reason::Token,
            Kind::Unauthenticated(Proof::Forwarded, _) => Reason::Forwarded,
            Kind::Unauthenticated(Proof::Secret, _) => Reason::Secret,
            Kind::Refused(_) | Kind::Misbehaved(_) | Kind::Failed(_) => return,
        };
        self.0.with(reason).inc();
    }
}
