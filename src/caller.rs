//! Who asks, and how that is known.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use spiffe::SpiffeId;

use crate::quoted::Quoted;

/// The kernel's stand-in for a user that has no name in its own namespace: many users, and so nobody in particular.
const OVERFLOW_UID: u32 = 65534;
/// RFC 1035, section 2.3.4.
const LONGEST_DNS_NAME: usize = 253;
const LONGEST_DNS_LABEL: usize = 63;

/// Who asks. There is one answer for each request, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A process on a Unix socket, by what the kernel says of it.
    Process {
        /// Its user.
        uid: u32,
        /// Its primary group.
        gid: u32,
    },
    /// Some process of this host, over loopback TCP. Which one is not known.
    Loopback,
    /// Some process of this host that has the secret of the AWS API. Which one is not known.
    AwsApi,
    /// A workload, by the SPIFFE id in its client certificate.
    Spiffe(Arc<SpiffeId>),
    /// A host, by the DNS name in its client certificate.
    Dns(DnsName),
    /// Whoever a bearer token is about.
    Token(Arc<TokenCaller>),
}

/// Whom a bearer token is about, by the word of its issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenCaller {
    /// The name that the configuration has for the issuer.
    pub issuer: String,
    /// The token's `sub`.
    pub subject: String,
    /// Its other claims that are texts, numbers or booleans, as text.
    pub claims: BTreeMap<String, String>,
    /// When the token ends; none of a caller that is only spoken of.
    pub expires: Option<SystemTime>,
}

/// A caller without what differs from one of its calls to the next, its process's group and its token's other claims: whom limits are
/// kept for, and whom AWS is told of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// The processes of a user.
    Uid(u32),
    /// The processes of this host that come over loopback.
    Loopback,
    /// The processes of this host that have the secret of the AWS API.
    AwsApi,
    /// A workload.
    Spiffe(Arc<SpiffeId>),
    /// A host.
    Dns(DnsName),
    /// Whoever the tokens of an issuer are about.
    Token {
        /// The name that the configuration has for the issuer.
        issuer: Box<str>,
        /// The tokens' `sub`.
        subject: Box<str>,
    },
}

/// A host's full name, in lower case and without a dot at its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(Arc<str>);

impl Caller {
    /// The process at the other end of a Unix socket, unless it is nobody in particular.
    #[must_use]
    pub fn process(uid: u32, gid: u32) -> Option<Self> {
        (uid != OVERFLOW_UID).then_some(Self::Process { uid, gid })
    }

    /// The workload that a text names as the SPIFFE standard writes it, with a path: a trust domain alone is no workload.
    #[must_use]
    pub fn spiffe(id: &str) -> Option<Self> {
        let parsed = SpiffeId::new(id).ok()?;
        // The library takes upper case in a trust domain too; one workload has one name here.
        (!parsed.path().is_empty() && parsed.to_string() == id).then(|| Self::Spiffe(Arc::new(parsed)))
    }

    /// The same, with what its token claims beside the subject; `None` for whoever is not known by a token.
    #[must_use]
    pub fn claiming(self, claims: BTreeMap<String, String>) -> Option<Self> {
        match self {
            Self::Token(token) => Some(Self::Token(Arc::new(TokenCaller { claims, ..(*token).clone() }))),
            _ => None,
        }
    }

    /// Who it is, whatever else this call says of it.
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
        }
    }

    /// How it is known, for people.
    #[must_use]
    pub fn proof(&self) -> &'static str {
        match self {
            Self::Process { .. } => "the kernel named the process at the other end of the Unix socket",
            Self::Loopback => "the connection comes from this host, over loopback; nothing more is known",
            Self::AwsApi => "it comes from this host and has the secret of the broker's AWS API; nothing more is known",
            Self::Spiffe(_) => {
                "its client certificate has this SPIFFE id, and a root of its trust domain vouches for it"
            }
            Self::Token(_) => "its bearer token was signed by an issuer that the broker's configuration names",
            Self::Dns(_) => "its client certificate has this DNS name, and a root that may vouch for that name does",
        }
    }
}

/// Why a text names no caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is no caller: those are uid:1001,gid:1001, with the user's primary group, loopback, aws-api, spiffe://DOMAIN/PATH, dns:NAME, and jwt:ISSUER:SUBJECT with the issuer's name in the configuration",
    Quoted(text)
)]
pub struct CallerError {
    text: String,
}

/// For those who ask what a policy decides.
impl FromStr for Caller {
    type Err = CallerError;

    fn from_str(text: &str) -> Result<Self, CallerError> {
        parse(text).ok_or_else(|| CallerError { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<Caller> {
    if text == "loopback" {
        return Some(Caller::Loopback);
    }
    if text == "aws-api" {
        return Some(Caller::AwsApi);
    }
    if let Some(name) = text.strip_prefix("dns:") {
        return name.parse().ok().map(Caller::Dns);
    }
    if let Some((issuer, subject)) = text.strip_prefix("jwt:").and_then(|rest| rest.split_once(':')) {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        return Some(Caller::Token(Arc::new(TokenCaller { issuer, subject, claims: BTreeMap::new(), expires: None })));
    }
    if text.starts_with("spiffe:") {
        return Caller::spiffe(text);
    }
    let (uid, gid) = text.split_once(',')?;
    Caller::process(uid.strip_prefix("uid:")?.parse().ok()?, gid.strip_prefix("gid:")?.parse().ok()?)
}

/// The name in answers, logs and on the command line: `uid:1001,gid:1001`, the group being the primary one, `loopback`, `aws-api`,
/// the SPIFFE id, `dns:` and the name, or `jwt:`, the issuer's name, `:` and the subject.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { uid, gid } => write!(f, "uid:{uid},gid:{gid}"),
            Self::Loopback | Self::AwsApi | Self::Spiffe(_) | Self::Dns(_) | Self::Token(_) => {
                write!(f, "{}", self.principal())
            }
        }
    }
}

impl Principal {
    /// Whether it calls from the broker's own host.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Uid(_) | Self::Loopback | Self::AwsApi => true,
            Self::Spiffe(_) | Self::Dns(_) | Self::Token { .. } => false,
        }
    }
}

/// As callers are written, and for no two alike: an issuer's name has no `:`.
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

/// Why a text is no host's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is no DNS name: those are whole, in lower case and without \"*\", such as \"build-1.corp.example\"",
    Quoted(text)
)]
pub struct DnsNameError {
    text: String,
}

impl FromStr for DnsName {
    type Err = DnsNameError;

    fn from_str(text: &str) -> Result<Self, DnsNameError> {
        let fits = text.len() <= LONGEST_DNS_NAME && text.split('.').all(is_dns_label);
        // Else it could be an IP address.
        let named = text.rsplit('.').next().is_some_and(|last| !last.bytes().all(|byte| byte.is_ascii_digit()));
        if fits && named { Ok(Self(text.into())) } else { Err(DnsNameError { text: text.to_owned() }) }
    }
}

fn is_dns_label(label: &str) -> bool {
    (1..=LONGEST_DNS_LABEL).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overflow_user_is_nobody_and_root_is_a_user_like_another() {
        assert_eq!(Caller::process(65534, 65534), None);
        assert_eq!(Caller::process(0, 0).map(|caller| caller.to_string()).as_deref(), Some("uid:0,gid:0"));
        assert_eq!(Caller::Loopback.to_string(), "loopback");
    }

    #[test]
    fn only_a_token_claims_something_and_each_kind_is_proved_in_its_own_way() {
        let claims = BTreeMap::from([("ref".to_owned(), "main".to_owned())]);
        let mut proofs = std::collections::BTreeSet::new();
        for (text, claiming) in [
            ("uid:1,gid:1", false),
            ("loopback", false),
            ("aws-api", false),
            ("spiffe://a.example/b", false),
            ("dns:a.example", false),
            ("jwt:blue:a:b", true),
        ] {
            let caller: Caller = text.parse().unwrap();
            assert!(caller.proof().len() > 20 && proofs.insert(caller.proof()), "{text}");
            match caller.claiming(claims.clone()) {
                Some(Caller::Token(token)) => assert_eq!((claiming, &token.claims), (true, &claims), "{text}"),
                other => assert_eq!((claiming, other), (false, None), "{text}"),
            }
        }
    }

    #[test]
    fn callers_are_read_as_they_are_written() {
        for text in [
            "uid:1001,gid:5",
            "loopback",
            "aws-api",
            "spiffe://prod.example/ns/ci/sa/Runner_1",
            "dns:build-1.corp.example",
        ] {
            assert_eq!(text.parse::<Caller>().unwrap().to_string(), text);
        }
        let long = format!("dns:{}.example", "a".repeat(64));
        for wrong in [
            "uid:1001",
            "uid:65534,gid:65534",
            "1001",
            "uid:-1",
            "gid:5",
            "",
            "spiffe://prod.example",
            "spiffe://prod.example/",
            "spiffe://Prod.example/a",
            "SPIFFE://prod.example/a",
            "spiffe://prod.example:8443/a",
            "spiffe://u@prod.example/a",
            "spiffe://prod.example/a/",
            "spiffe://prod.example//a",
            "spiffe://prod.example/../a",
            "spiffe://prod.example/a?b",
            "spiffe://prod.example/a#b",
            "spiffe://prod.example/%61",
            "spiffe:///a",
            "spiffe://prod.example/a b",
            "dns:",
            "dns:*.example",
            "dns:Build.example",
            "dns:a..b",
            "dns:a.",
            "dns:-a.b",
            "dns:10.0.0.1",
            "dns:a_b.example",
            long.as_str(),
        ] {
            assert!(wrong.parse::<Caller>().is_err(), "{wrong}");
        }
    }
}
