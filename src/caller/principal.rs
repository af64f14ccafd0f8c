//! Principals: callers as limits, sessions and audit records count them.

use std::fmt;
use std::sync::Arc;

use spiffe::SpiffeId;

use super::dns_name::DnsName;

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
}

impl Principal {
    /// Returns whether the principal calls from the broker's own host.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Uid(_) | Self::Loopback | Self::AwsApi => true,
            Self::Spiffe(_) | Self::Dns(_) | Self::Token { .. } => false,
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
        }
    }
}

/// Writes the name that [`Caller`](super::Caller) parses. No two principals have one name, because an issuer's name has no `:`.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid:{uid}"),
            Self::Loopback => f.write_str("loopback"),
            Self::AwsApi => f.write_str("aws-api"),
            Self::Spiffe(id) => write!(f, "{id}"),
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Token { issuer, subject } => write!(f, "jwt:{issuer}:{subject}"),
        }
    }
}
