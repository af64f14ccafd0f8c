//! Patterns of the brokers that forward a caller.

use std::fmt;
use std::str::FromStr;

use super::spiffe::{SpiffePattern, SpiffePatternError};
use crate::caller::{BrokerId, Caller, DnsName, DnsNameError, Via};
use crate::quoted::Quoted;

/// Chains of brokers that a grant applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViaPattern {
    /// The brokers in the order of the caller's way; the last is the one that connects.
    pub brokers: Vec<BrokerPattern>,
    /// Claim of the caller's token that must be what the `*` in the first broker's pattern stands for.
    pub claim: Option<String>,
}

/// Brokers that a grant applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerPattern {
    /// Workloads.
    Spiffe(SpiffePattern),
    /// A host.
    Dns(DnsName),
}

/// The error for a text that is not a pattern of brokers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerPatternError {
    /// Neither a SPIFFE ID nor a DNS name.
    #[error("{} is not a broker; write it as in \"spiffe://prod.example/node/*\" or \"dns:cache-1.corp.example\"", Quoted(.0))]
    Unknown(String),
    /// Not a pattern of SPIFFE IDs.
    #[error(transparent)]
    Spiffe(#[from] SpiffePatternError),
    /// Not a DNS name.
    #[error(transparent)]
    Dns(#[from] DnsNameError),
}

impl ViaPattern {
    /// Returns whether the pattern matches the way of a forwarded caller.
    pub(in crate::policy) fn matches(&self, via: &Via, job: &Caller) -> bool {
        self.brokers.len() == via.brokers().len()
            && self.brokers.iter().zip(via.brokers()).all(|(pattern, broker)| pattern.matches(broker))
            && self.claim.as_ref().is_none_or(|name| self.has_claim_of(name, via, job))
    }

    /// Returns whether each pattern of a deny matches a broker of the way: a longer way does not evade it.
    pub(in crate::policy) fn is_on(&self, via: &Via) -> bool {
        self.brokers.iter().all(|pattern| via.brokers().iter().any(|broker| pattern.matches(broker)))
    }

    /// Returns whether this pattern matches every way that `other` matches.
    pub(in crate::policy) fn contains(&self, other: &Self) -> bool {
        self.brokers.len() == other.brokers.len()
            && self.brokers.iter().zip(&other.brokers).all(|(outer, inner)| outer.contains(inner))
            && (self.claim.is_none() || self.claim == other.claim)
    }

    /// Returns the part of the first broker's name that the claim must be equal to; `None` if another broker forwards the caller.
    pub(in crate::policy) fn captured<'a>(&self, via: &'a Via) -> Option<&'a str> {
        match (self.brokers.first()?, via.first()?) {
            (BrokerPattern::Spiffe(pattern), BrokerId::Spiffe(id)) => pattern.captured(id),
            _ => None,
        }
    }

    fn has_claim_of(&self, name: &str, via: &Via, job: &Caller) -> bool {
        let claim = if let Caller::Token(token) = job { token.claims.get(name) } else { None };
        claim.is_some_and(|claim| self.captured(via) == Some(claim))
    }
}

impl BrokerPattern {
    /// Returns the pattern that matches one broker.
    #[must_use]
    pub fn only(broker: &BrokerId) -> Option<Self> {
        match broker {
            BrokerId::Spiffe(id) => id.to_string().parse().ok().map(Self::Spiffe),
            BrokerId::Dns(name) => Some(Self::Dns(name.clone())),
        }
    }

    /// Returns whether exactly one `*` is in the pattern, so that it stands for one part of a name.
    #[must_use]
    pub fn has_one_star(&self) -> bool {
        matches!(self, Self::Spiffe(pattern) if pattern.stars() == 1)
    }

    fn matches(&self, broker: &BrokerId) -> bool {
        match (self, broker) {
            (Self::Spiffe(pattern), BrokerId::Spiffe(id)) => pattern.matches(id),
            (Self::Dns(wanted), BrokerId::Dns(name)) => wanted == name,
            (Self::Spiffe(_) | Self::Dns(_), _) => false,
        }
    }

    fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Spiffe(outer), Self::Spiffe(inner)) => outer.contains(inner),
            _ => self == other,
        }
    }
}

impl FromStr for BrokerPattern {
    type Err = BrokerPatternError;

    fn from_str(text: &str) -> Result<Self, BrokerPatternError> {
        if text.starts_with("spiffe:") {
            return Ok(Self::Spiffe(text.parse()?));
        }
        let name = text.strip_prefix("dns:").ok_or_else(|| BrokerPatternError::Unknown(text.to_owned()))?;
        Ok(Self::Dns(name.parse()?))
    }
}

impl fmt::Display for BrokerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spiffe(pattern) => write!(f, "{pattern}"),
            Self::Dns(name) => write!(f, "dns:{name}"),
        }
    }
}

impl fmt::Display for ViaPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let brokers: Vec<_> = self.brokers.iter().map(ToString::to_string).collect();
        f.write_str(&brokers.join(","))
    }
}
