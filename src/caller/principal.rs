//! Principals: callers as limits, sessions and audit records count them.

use std::fmt;
use std::sync::Arc;

use spiffe::SpiffeId;

use super::claims_digest::ClaimsDigest;
use super::dns_name::DnsName;
use super::via::{BrokerId, Via};

/// What the name of a session identity begins with.
pub(super) const SESSION_PREFIX: &str = "session:";

/// A caller without what may differ between its calls: its process's group and its token's other claims. Limits are kept for a
/// principal, and AWS sees it in the session name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// The processes of a user.
    Uid(u32),
    /// The processes of this host that connect over loopback.
    Loopback,
    /// The processes of this host that have the secret of the AWS API.
    AwsApi,
    /// A workload.
    Spiffe(Arc<SpiffeId>),
    /// A host.
    Dns(DnsName),
    /// A subject of bearer tokens.
    Token {
        /// The issuer's name in the configuration.
        issuer: Box<str>,
        /// The tokens' `sub`.
        subject: Box<str>,
    },
    /// What child brokers assert about one of their callers, which proved nothing here.
    Asserted(Arc<AssertedPrincipal>),
    /// A principal and a digest of the rest of its caller, as the key of credentials that a parent broker decides about.
    Exact(Arc<ExactPrincipal>),
    /// The identity of a role session, as the key of credentials that callers with other claims do not get.
    Session(Arc<SessionIdentity>),
}

/// A principal by the word of child brokers.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssertedPrincipal {
    principal: Principal,
    via: Via,
}

/// A principal and a digest of the rest of its caller.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExactPrincipal {
    principal: Principal,
    digest: ClaimsDigest,
}

/// All by which AWS tells a role session from others of its profile: the caller or the name that it is attributed to, and its tags.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionIdentity {
    /// The caller; `None`: callers with one name and the same tags share the session.
    pub principal: Option<Principal>,
    /// The session's name, if claims make it.
    pub name: Option<Box<str>>,
    /// Keys and values of the session tags, in the order of the profile.
    pub tags: Vec<(Box<str>, Box<str>)>,
}

impl Principal {
    /// Returns `principal` by the word of the brokers of `via`.
    #[must_use]
    pub fn asserted(principal: Self, via: Via) -> Self {
        Self::Asserted(Arc::new(AssertedPrincipal { principal, via }))
    }

    /// Returns `principal` with a digest of the rest of its caller.
    #[must_use]
    pub fn exact(principal: Self, digest: ClaimsDigest) -> Self {
        Self::Exact(Arc::new(ExactPrincipal { principal, digest }))
    }

    /// Returns whether it is the key of credentials that a parent broker decides about caller by caller.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        matches!(self, Self::Exact(_))
    }

    /// Returns the principal without the digest of the rest of its caller, and without the tags of its session.
    #[must_use]
    pub fn subject(&self) -> &Self {
        match self {
            Self::Exact(exact) => &exact.principal,
            Self::Session(session) => session.principal.as_ref().unwrap_or(self),
            _ => self,
        }
    }

    /// Returns the identity of a role session, if it is one.
    #[must_use]
    pub fn session(&self) -> Option<&SessionIdentity> {
        if let Self::Session(session) = self { Some(session) } else { None }
    }

    /// Returns whether the principal calls from the broker's own host.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Uid(_) | Self::Loopback | Self::AwsApi => true,
            Self::Spiffe(_) | Self::Dns(_) | Self::Token { .. } | Self::Asserted(_) => false,
            Self::Exact(exact) => exact.principal.is_local(),
            Self::Session(session) => session.principal.as_ref().is_some_and(Self::is_local),
        }
    }

    /// Returns the memory that the name takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Uid(_) | Self::Loopback | Self::AwsApi => 0,
            Self::Spiffe(id) => id.trust_domain().as_str().len() + id.path().len(),
            Self::Dns(name) => name.as_str().len(),
            Self::Token { issuer, subject } => issuer.len() + subject.len(),
            Self::Asserted(asserted) => {
                size_of::<AssertedPrincipal>() + asserted.principal.bytes() + asserted.via.bytes()
            }
            Self::Exact(exact) => size_of::<ExactPrincipal>() + exact.principal.bytes(),
            Self::Session(session) => size_of::<SessionIdentity>() + session.bytes(),
        }
    }
}

impl From<&BrokerId> for Principal {
    fn from(broker: &BrokerId) -> Self {
        match broker {
            BrokerId::Spiffe(id) => Self::Spiffe(Arc::clone(id)),
            BrokerId::Dns(name) => Self::Dns(name.clone()),
        }
    }
}

impl AssertedPrincipal {
    /// Returns the principal that the brokers assert.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Returns the brokers.
    #[must_use]
    pub fn via(&self) -> &Via {
        &self.via
    }
}

impl ExactPrincipal {
    /// Returns the principal without the digest.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
}

impl SessionIdentity {
    /// Returns the memory that the texts take, in bytes.
    fn bytes(&self) -> usize {
        let tags = self.tags.iter().map(|(key, value)| size_of::<(Box<str>, Box<str>)>() + key.len() + value.len());
        let name = self.name.as_ref().map_or(0, |name| name.len());
        self.principal.as_ref().map_or(0, Principal::bytes) + name + tags.sum::<usize>()
    }
}

/// Writes the name that [`Caller`](super::Caller) parses, but for `exact:` and `session:`, which are only keys. No two principals have one name,
/// because an issuer's name has no `:` and a broker's no space.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid:{uid}"),
            Self::Loopback => f.write_str("loopback"),
            Self::AwsApi => f.write_str("aws-api"),
            Self::Spiffe(id) => write!(f, "{id}"),
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Token { issuer, subject } => write!(f, "jwt:{issuer}:{subject}"),
            Self::Asserted(asserted) => write!(f, "via {} {}", asserted.via, asserted.principal),
            Self::Exact(exact) => write!(f, "exact:{}:{}", exact.digest, exact.principal),
            Self::Session(session) => session.fmt(f),
        }
    }
}

/// Writes `session:` and a list of the principal's name, the session's name, and the tags.
impl fmt::Display for SessionIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let principal = self.principal.as_ref().map(ToString::to_string);
        write!(f, "{SESSION_PREFIX}{}", serde_json::json!([principal, self.name, self.tags]))
    }
}
