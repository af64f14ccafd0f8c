//! Callers, and how the broker authenticated them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use spiffe::SpiffeId;

mod claim_names;
mod claims_digest;
mod dns_name;
mod forwarded;
mod group;
mod parse;
mod principal;
mod session_identity;
mod via;

pub use self::claim_names::ClaimNames;
pub use self::claims_digest::ClaimsDigest;
pub use self::dns_name::{DnsName, DnsNameError};
pub use self::forwarded::ForwardedCaller;
pub use self::group::CallerGroup;
pub use self::parse::CallerError;
pub use self::principal::{AssertedPrincipal, ExactPrincipal, Principal, SessionIdentity};
pub use self::via::{BrokerId, Via, ViaError};

/// Memory that a claim takes beside its texts.
const CLAIM_BYTES: usize = 64;

/// The kernel's placeholder for users without an ID in this namespace. Many users share it, so it identifies no caller.
const OVERFLOW_UID: u32 = 65534;

/// The authenticated caller of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A process on a Unix socket, by the peer credentials from the kernel.
    Process {
        /// The user.
        uid: u32,
        /// The primary group.
        gid: u32,
    },
    /// A process of this host on a loopback TCP connection. Which process is unknown.
    Loopback,
    /// A process of this host that has the secret of the AWS API. Which process is unknown.
    AwsApi,
    /// A workload, by the SPIFFE ID in its client certificate.
    Spiffe(Arc<SpiffeId>),
    /// A host, by the DNS name in its client certificate.
    Dns(DnsName),
    /// The subject of a bearer token.
    Token(Arc<TokenCaller>),
    /// A caller of a child broker, which forwards it.
    Forwarded(Arc<ForwardedCaller>),
}

/// The subject of a bearer token, as its issuer describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenCaller {
    /// The issuer's name in the configuration.
    pub issuer: String,
    /// The ID of the issuer's definition in this process; `None` for a caller that was parsed from its name.
    pub issuer_id: Option<usize>,
    /// The token's `sub`.
    pub subject: String,
    /// The other claims that are texts, numbers or booleans, as text: those with a name in `kept`.
    pub claims: BTreeMap<String, String>,
    /// The names of the claims that were kept.
    pub kept: ClaimNames,
    /// Digest of all claims that stay the same when the token is renewed.
    pub digest: ClaimsDigest,
    /// The token's expiry; `None` for a caller that was parsed from its name.
    pub expires: Option<SystemTime>,
}

impl Caller {
    /// Returns the process at the other end of a Unix socket; `None` for the kernel's overflow user.
    #[must_use]
    pub fn process(uid: u32, gid: u32) -> Option<Self> {
        (uid != OVERFLOW_UID).then_some(Self::Process { uid, gid })
    }

    /// Returns the workload of a SPIFFE ID in its standard form, with a path: a trust domain alone is not a workload.
    #[must_use]
    pub fn spiffe(id: &str) -> Option<Self> {
        let parsed = SpiffeId::new(id).ok()?;
        // The library accepts upper case in a trust domain. Here a workload has one name, so that form is rejected.
        (!parsed.path().is_empty() && parsed.to_string() == id).then(|| Self::Spiffe(Arc::new(parsed)))
    }

    /// Returns the caller with other claims in its token; `None` for a caller without a token.
    #[must_use]
    pub fn with_claims(self, claims: BTreeMap<String, String>) -> Option<Self> {
        match self {
            Self::Token(token) => Some(Self::Token(Arc::new(TokenCaller { claims, ..(*token).clone() }))),
            Self::Forwarded(forwarded) => {
                Self::forwarded(forwarded.job().clone().with_claims(claims)?, forwarded.via().clone())
            }
            _ => None,
        }
    }

    /// Returns `job` as the brokers of `via` forward it; `None` if it is already forwarded.
    #[must_use]
    pub fn forwarded(job: Self, via: Via) -> Option<Self> {
        ForwardedCaller::new(job, via).map(|forwarded| Self::Forwarded(Arc::new(forwarded)))
    }

    /// Returns whether all claims of these names were kept of the caller's token, so that grants which name them can be decided.
    #[must_use]
    pub fn has_kept(&self, names: &ClaimNames) -> bool {
        if let Self::Token(token) = self.job() { token.kept.include(names) } else { true }
    }

    /// Returns the ID of the issuer that the caller's token was verified for, if it has a token.
    #[must_use]
    pub fn issuer_id(&self) -> Option<usize> {
        if let Self::Token(token) = self.job() { token.issuer_id } else { None }
    }

    /// Returns the memory that the caller's name and claims take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Process { .. } | Self::Loopback | Self::AwsApi => 0,
            Self::Spiffe(id) => id.trust_domain().as_str().len() + id.path().len(),
            Self::Dns(name) => name.as_str().len(),
            Self::Token(token) => token.bytes(),
            Self::Forwarded(forwarded) => forwarded.job().bytes() + forwarded.via().bytes(),
        }
    }

    /// Returns the principal: the caller without what may differ between its calls.
    #[must_use]
    pub fn principal(&self) -> Principal {
        match self {
            Self::Process { uid, .. } => Principal::Uid(*uid),
            Self::Loopback => Principal::Loopback,
            Self::AwsApi => Principal::AwsApi,
            Self::Spiffe(id) => Principal::Spiffe(Arc::clone(id)),
            Self::Dns(name) => Principal::Dns(name.clone()),
            Self::Token(token) => {
                let (issuer, subject) = (token.issuer.as_str().into(), token.subject.as_str().into());
                Principal::Token { issuer, subject }
            }
            Self::Forwarded(forwarded) => forwarded.principal(),
        }
    }

    /// Describes for people how the caller was authenticated.
    #[must_use]
    pub fn proof(&self) -> &'static str {
        match self {
            Self::Process { .. } => "Unix socket peer credentials from the kernel",
            Self::Loopback => "loopback connection from the broker's host; the process is unknown",
            Self::AwsApi => "secret of the broker's AWS API, from the broker's host; the process is unknown",
            Self::Spiffe(_) => "client certificate with this SPIFFE ID, verified by a root of its trust domain",
            Self::Dns(_) => "client certificate with this DNS name, verified by a root for that name",
            Self::Token(_) => "bearer token signed by a configured issuer",
            Self::Forwarded(forwarded) if forwarded.is_asserted() => {
                "assertion of a child broker with a client certificate; the caller proved nothing to this broker"
            }
            Self::Forwarded(_) => {
                "bearer token signed by a configured issuer, forwarded by a child broker with a client certificate"
            }
        }
    }
}

impl TokenCaller {
    /// Returns the memory that the names and claims take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let claims = self.claims.iter().map(|(name, text)| name.len() + text.len() + CLAIM_BYTES);
        self.issuer.len() + self.subject.len() + claims.sum::<usize>()
    }
}

/// Writes the name in answers, in logs and on the command line: `uid:1001,gid:1001` with the primary group, `loopback`,
/// `aws-api`, the SPIFFE ID, `dns:NAME`, or `jwt:ISSUER:SUBJECT`. A forwarded caller has `via BROKERS` before its name: no subject
/// of a token can look like it.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { uid, gid } => write!(f, "uid:{uid},gid:{gid}"),
            Self::Loopback | Self::AwsApi | Self::Spiffe(_) | Self::Dns(_) | Self::Token(_) => {
                write!(f, "{}", self.principal())
            }
            Self::Forwarded(forwarded) => write!(f, "via {} {}", forwarded.via(), forwarded.job()),
        }
    }
}

#[cfg(test)]
mod tests;
