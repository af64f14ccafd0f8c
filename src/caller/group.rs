//! Groups of callers that one authority names: limits that no issuer may use up are kept for each.

use std::fmt;

use super::principal::Principal;
use super::via::BrokerId;

/// Callers that one authority names. The operator configures each issuer and trust domain, so the number of groups is bounded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallerGroup {
    /// The users of this host.
    Local,
    /// The workloads of a trust domain.
    TrustDomain(String),
    /// The hosts with a certificate for their DNS name, each of which has roots in the configuration.
    Hosts,
    /// The subjects of an issuer.
    Issuer(Box<str>),
}

impl From<&Principal> for CallerGroup {
    fn from(principal: &Principal) -> Self {
        match principal {
            Principal::Uid(_) | Principal::Loopback | Principal::AwsApi => Self::Local,
            Principal::Spiffe(id) => Self::TrustDomain(id.trust_domain().to_string()),
            Principal::Dns(_) => Self::Hosts,
            Principal::Token { issuer, .. } => Self::Issuer(issuer.clone()),
            Principal::Asserted(asserted) => asserted.via().peer().map_or(Self::Hosts, Self::from),
            Principal::Exact(exact) => Self::from(exact.principal()),
            // A key of credentials, which no caller is counted by.
            Principal::Session(session) => session.principal.as_ref().map_or(Self::Local, Self::from),
        }
    }
}

/// What a broker asserts counts as its own group's: the broker could make up any number of callers.
impl From<&BrokerId> for CallerGroup {
    fn from(broker: &BrokerId) -> Self {
        match broker {
            BrokerId::Spiffe(id) => Self::TrustDomain(id.trust_domain().to_string()),
            BrokerId::Dns(_) => Self::Hosts,
        }
    }
}

/// Writes the name in records: `local`, `spiffe://TRUST-DOMAIN`, `dns` or `jwt:ISSUER`.
impl fmt::Display for CallerGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::TrustDomain(name) => write!(f, "spiffe://{name}"),
            Self::Hosts => f.write_str("dns"),
            Self::Issuer(name) => write!(f, "jwt:{name}"),
        }
    }
}
