//! Caller patterns: one variant for each way in which a caller can be authenticated.

use super::claim::ClaimPattern;
use super::spiffe::SpiffePattern;
use super::via::{BrokerPattern, ViaPattern};
use crate::caller::{BrokerId, Caller, DnsName, Principal, TokenCaller, Via};

/// Callers that a grant applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerPattern {
    /// Processes of a user, over a Unix socket.
    Uid(u32),
    /// Processes with this primary group, over a Unix socket.
    Gid(u32),
    /// Any process of this host, over loopback TCP.
    Loopback,
    /// Any process of this host that has the secret of the AWS API.
    AwsApi,
    /// Workloads, by the SPIFFE ID in their certificates.
    Spiffe(SpiffePattern),
    /// A host, by the DNS name in its certificate.
    Dns(DnsName),
    /// Holders of bearer tokens.
    Token(TokenPattern),
    /// Callers of child brokers. The word of the brokers counts for those without a token.
    Forwarded(Box<Self>, ViaPattern),
}

/// Bearer tokens that a grant applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPattern {
    /// The issuer's name in the configuration.
    pub issuer: String,
    /// The subjects; `None` matches every subject.
    pub subject: Option<ClaimPattern>,
    /// The other claims; a token must match all of them.
    pub claims: Vec<(String, ClaimPattern)>,
}

impl CallerPattern {
    /// Returns the pattern that matches one principal, which the brokers of `via` forward; `None` if a pattern would match others
    /// too.
    #[must_use]
    pub fn only(principal: &Principal, via: Option<&Via>) -> Option<Self> {
        let direct = Self::only_direct(principal)?;
        let Some(via) = via else { return Some(direct) };
        let brokers = via.brokers().iter().map(BrokerPattern::only).collect::<Option<_>>()?;
        Some(Self::Forwarded(Box::new(direct), ViaPattern { brokers, claim: None }))
    }

    fn only_direct(principal: &Principal) -> Option<Self> {
        Some(match principal {
            Principal::Uid(uid) => Self::Uid(*uid),
            Principal::Loopback => Self::Loopback,
            Principal::AwsApi => Self::AwsApi,
            Principal::Spiffe(id) => Self::Spiffe(id.to_string().parse().ok()?),
            Principal::Dns(name) => Self::Dns(name.clone()),
            Principal::Token { subject, .. } if subject.contains('*') => return None,
            Principal::Token { issuer, subject } => {
                let subject = Some(subject.parse().ok()?);
                Self::Token(TokenPattern { issuer: issuer.to_string(), subject, claims: Vec::new() })
            }
            Principal::Asserted(asserted) => return Self::only(asserted.principal(), Some(asserted.via())),
            Principal::Exact(exact) => return Self::only_direct(exact.principal()),
            Principal::Session(session) => return Self::only_direct(session.principal.as_ref()?),
        })
    }

    /// Returns the pattern of the callers without the brokers that forward them.
    #[must_use]
    pub fn job(&self) -> &Self {
        if let Self::Forwarded(job, _) = self { job } else { self }
    }

    /// Returns the pattern of tokens; `None` for callers without one.
    #[must_use]
    pub fn token(&self) -> Option<&TokenPattern> {
        if let Self::Token(pattern) = self.job() { Some(pattern) } else { None }
    }

    pub(in crate::policy) fn matches(&self, caller: &Caller) -> bool {
        match (self, caller) {
            (Self::Uid(wanted), Caller::Process { uid, .. }) => wanted == uid,
            (Self::Gid(wanted), Caller::Process { gid, .. }) => wanted == gid,
            (Self::Loopback, Caller::Loopback) | (Self::AwsApi, Caller::AwsApi) => true,
            (Self::Spiffe(pattern), Caller::Spiffe(id)) => pattern.matches(id),
            (Self::Dns(wanted), Caller::Dns(name)) => wanted == name,
            (Self::Token(pattern), Caller::Token(token)) => pattern.matches(token),
            (Self::Forwarded(job, via), Caller::Forwarded(caller)) => {
                job.matches(caller.job()) && via.matches(caller.via(), caller.job())
            }
            (
                Self::Uid(_)
                | Self::Gid(_)
                | Self::Loopback
                | Self::AwsApi
                | Self::Spiffe(_)
                | Self::Dns(_)
                | Self::Token(_)
                | Self::Forwarded(..),
                _,
            ) => false,
        }
    }

    /// Returns whether the pattern matches a caller that a deny names. Brokers must not be a way around a deny: it also matches
    /// callers that they forward, and every caller of a broker that it names.
    pub(in crate::policy) fn denies(&self, caller: &Caller) -> bool {
        let Caller::Forwarded(forwarded) = caller else { return self.matches(caller) };
        match self {
            Self::Forwarded(job, via) => job.matches(forwarded.job()) && via.is_on(forwarded.via()),
            direct => {
                direct.matches(forwarded.job())
                    || forwarded.via().brokers().iter().any(|broker| direct.matches_broker(broker))
            }
        }
    }

    fn matches_broker(&self, broker: &BrokerId) -> bool {
        match (self, broker) {
            (Self::Spiffe(pattern), BrokerId::Spiffe(id)) => pattern.matches(id),
            (Self::Dns(wanted), BrokerId::Dns(name)) => wanted == name,
            _ => false,
        }
    }

    /// Returns whether this pattern matches every caller that `other` matches.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Spiffe(outer), Self::Spiffe(inner)) => outer.contains(inner),
            (Self::Token(outer), Self::Token(inner)) => outer.contains(inner),
            (Self::Forwarded(outer, outer_via), Self::Forwarded(inner, inner_via)) => {
                outer.contains(inner) && outer_via.contains(inner_via)
            }
            _ => self == other,
        }
    }
}

impl TokenPattern {
    /// Returns whether the token matches. A claim that the token lacks does not match.
    fn matches(&self, token: &TokenCaller) -> bool {
        self.issuer == token.issuer
            && self.subject.as_ref().is_none_or(|pattern| pattern.matches(&token.subject))
            && self
                .claims
                .iter()
                .all(|(name, pattern)| token.claims.get(name).is_some_and(|text| pattern.matches(text)))
    }

    /// Returns whether this pattern requires no more than `other` requires.
    fn contains(&self, other: &Self) -> bool {
        self.issuer == other.issuer
            && self
                .subject
                .as_ref()
                .is_none_or(|outer| other.subject.as_ref().is_some_and(|inner| outer.contains(inner)))
            && self
                .claims
                .iter()
                .all(|(name, outer)| other.claims.iter().any(|(own, inner)| own == name && outer.contains(inner)))
    }
}
