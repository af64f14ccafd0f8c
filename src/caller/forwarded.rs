//! Callers that child brokers forward.

use super::{BrokerId, Caller, ClaimsDigest, Principal, Via};

/// A caller of a child broker: the job, and the brokers that forwarded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardedCaller {
    job: Caller,
    via: Via,
}

impl ForwardedCaller {
    /// Returns `job` as the brokers of `via` forward it; `None` if it is already forwarded.
    #[must_use]
    pub fn new(job: Caller, via: Via) -> Option<Self> {
        (!matches!(job, Caller::Forwarded(_))).then_some(Self { job, via })
    }

    /// Returns the caller of the first broker.
    #[must_use]
    pub fn job(&self) -> &Caller {
        &self.job
    }

    /// Returns the brokers that forwarded it.
    #[must_use]
    pub fn via(&self) -> &Via {
        &self.via
    }

    /// Returns whether only the brokers' word says who the job is. This broker verified the token of any other.
    #[must_use]
    pub fn is_asserted(&self) -> bool {
        !matches!(self.job, Caller::Token(_))
    }

    /// Returns the principal. What a broker asserts is not the principal that proves itself here: a broker could otherwise use up
    /// the limits of every caller, and name any of them to AWS.
    pub(super) fn principal(&self) -> Principal {
        let principal = self.job.principal();
        if self.is_asserted() { Principal::asserted(principal, self.via.clone()) } else { principal }
    }
}

impl Caller {
    /// Returns the name of the broker that presented a client certificate; `None` for a caller without one.
    #[must_use]
    pub fn as_broker(&self) -> Option<BrokerId> {
        match self {
            Self::Spiffe(id) => Some(BrokerId::Spiffe(id.clone())),
            Self::Dns(name) => Some(BrokerId::Dns(name.clone())),
            _ => None,
        }
    }

    /// Returns the caller without the brokers that forwarded it.
    #[must_use]
    pub fn job(&self) -> &Self {
        if let Self::Forwarded(forwarded) = self { forwarded.job() } else { self }
    }

    /// Returns the brokers that forwarded the caller; `None` for a direct one.
    #[must_use]
    pub fn via(&self) -> Option<&Via> {
        if let Self::Forwarded(forwarded) = self { Some(forwarded.via()) } else { None }
    }

    /// Returns the digest of the lasting claims of the caller's token.
    #[must_use]
    pub fn claims_digest(&self) -> ClaimsDigest {
        if let Self::Token(token) = self.job() { token.digest } else { ClaimsDigest::default() }
    }

    /// Returns the principal with a digest of everything that a parent broker may decide by: the group of a process, the lasting
    /// `claims` of its token, and the brokers. A credential that a parent gave for one of them is not another's.
    #[must_use]
    pub fn exact_principal(&self, claims: ClaimsDigest) -> Principal {
        Principal::exact(self.principal(), ClaimsDigest::of([self.to_string().as_bytes(), claims.as_bytes()]))
    }
}
