//! The kinds of rejections. Each has its own rate, so that one kind does not hide another.

use crate::audit::{Outcome, Proof};
use crate::error::BrokerError;

/// The kind of a rejection. The texts are constants, so that no caller can make up kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The grants deny the request.
    Denied,
    /// The grants deny the request, and the policy is only observed.
    Observed,
    /// A proof of identity failed, with the reason.
    Unauthenticated(Proof, &'static str),
    /// The request is invalid or above a limit, by its reason. The answer tells the caller all about it.
    Refused(&'static str),
    /// The peer stalled its connection, which was closed; with the problem.
    Misbehaved(&'static str),
    /// AWS or the broker failed, by the reason. The log may be the only place with the cause.
    Failed(&'static str),
}

impl Kind {
    /// Returns the kind of an error; `proof` is what was presented if it is about the caller's identity.
    pub(crate) fn of(error: &BrokerError, proof: Proof) -> Self {
        match error {
            BrokerError::CallerNotAllowed => Self::Denied,
            BrokerError::CallerUnauthenticated { problem, .. } => Self::Unauthenticated(proof, problem),
            BrokerError::RequestInvalid { .. }
            | BrokerError::RegistryNotEcr { .. }
            | BrokerError::RegistryInvalid { .. }
            | BrokerError::ProfileUnknown { .. }
            | BrokerError::ValidityUnsatisfiable { .. }
            | BrokerError::CallerRateLimited { .. }
            | BrokerError::Overloaded { .. }
            | BrokerError::QueueFull { .. } => Self::Refused(error.reason()),
            BrokerError::Upstream(_)
            | BrokerError::AuditUnavailable
            | BrokerError::ShuttingDown
            | BrokerError::Deadline
            | BrokerError::Chain(_)
            | BrokerError::Internal => Self::Failed(error.reason()),
        }
    }

    /// Returns the outcome in audit records; `None` for a kind that is not audited, or audited as a release.
    pub(super) fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Denied => Some(Outcome::Denied),
            Self::Unauthenticated(..) => Some(Outcome::Unauthenticated),
            Self::Observed | Self::Refused(_) | Self::Misbehaved(_) | Self::Failed(_) => None,
        }
    }

    /// Returns the failed proof, and why it failed.
    pub(super) fn failed_proof(self) -> Option<(Proof, &'static str)> {
        if let Self::Unauthenticated(proof, reason) = self { Some((proof, reason)) } else { None }
    }

    /// Returns the reason in log lines.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Denied => "CALLER_NOT_ALLOWED",
            Self::Observed => "DENIAL_OBSERVED",
            Self::Unauthenticated(..) => "CALLER_UNAUTHENTICATED",
            Self::Misbehaved(_) => "PEER_MISBEHAVED",
            Self::Refused(reason) | Self::Failed(reason) => reason,
        }
    }

    /// Returns whether a caller gets more than one record in a minute.
    pub(super) fn is_recorded_each_second(self) -> bool {
        matches!(self, Self::Denied | Self::Observed | Self::Failed(_))
    }
}
