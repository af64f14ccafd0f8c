//! Who was rejected.

use crate::caller::Principal;
use crate::limits::Origin;

/// Who was rejected, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// An authenticated caller.
    Caller(Principal),
    /// A peer that proved nothing.
    Origin(Origin),
}

impl Subject {
    /// Returns the caller's name, if it is known.
    pub(super) fn caller(&self) -> Option<String> {
        if let Self::Caller(principal) = self { Some(principal.to_string()) } else { None }
    }

    /// Returns the name of the origin of an unknown caller.
    pub(super) fn origin(&self) -> Option<String> {
        if let Self::Origin(origin) = self { Some(origin.to_string()) } else { None }
    }
}

/// Subjects with one memory. The operator configures each issuer and trust domain, so the number of groups is bounded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// The users of this host.
    Local,
    /// The workloads of a trust domain.
    TrustDomain(String),
    /// The hosts with a certificate for their DNS name, each of which has roots in the configuration.
    Hosts,
    /// The subjects of an issuer.
    Issuer(Box<str>),
    /// The peers that proved nothing.
    Origins,
}

impl Group {
    pub(super) fn of(subject: &Subject) -> Self {
        match subject {
            Subject::Caller(Principal::Uid(_) | Principal::Loopback | Principal::AwsApi) => Self::Local,
            Subject::Caller(Principal::Spiffe(id)) => Self::TrustDomain(id.trust_domain().to_string()),
            Subject::Caller(Principal::Dns(_)) => Self::Hosts,
            Subject::Caller(Principal::Token { issuer, .. }) => Self::Issuer(issuer.clone()),
            Subject::Origin(_) => Self::Origins,
        }
    }

    /// Returns the name of a group of callers.
    pub(super) fn callers(&self) -> Option<String> {
        match self {
            Self::Local => Some("local".to_owned()),
            Self::TrustDomain(name) => Some(format!("spiffe://{name}")),
            Self::Hosts => Some("dns".to_owned()),
            Self::Issuer(name) => Some(format!("jwt:{name}")),
            Self::Origins => None,
        }
    }
}
