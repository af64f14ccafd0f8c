//! The chain of brokers that forwarded a caller.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use spiffe::SpiffeId;

use super::dns_name::DnsName;
use crate::quoted::Quoted;

/// Brokers between a caller and the broker that decides.
const MAX_BROKERS: usize = 3;
/// The separator in headers and names. No SPIFFE ID and no DNS name contains it.
const SEPARATOR: char = ',';

/// Brokers that forwarded a caller, in the order of its way: the first authenticated it, the last is the peer whose client
/// certificate this broker verified. Each was named by the next.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Via(Arc<[BrokerId]>);

/// A broker by the name in its client certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BrokerId {
    /// A workload.
    Spiffe(Arc<SpiffeId>),
    /// A host.
    Dns(DnsName),
}

/// The error for a text that is not a chain of brokers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not a chain of brokers; write 1 to {MAX_BROKERS} of spiffe://DOMAIN/PATH and dns:NAME, separated by commas",
    Quoted(text)
)]
pub struct ViaError {
    text: String,
}

impl Via {
    /// Returns the chain that ends with `peer`; `None` if it is too long. `before` are the brokers that the peer names.
    #[must_use]
    pub fn ending_with(before: Option<&Self>, peer: BrokerId) -> Option<Self> {
        let before = before.map_or(&[][..], Self::brokers);
        (before.len() < MAX_BROKERS).then(|| Self(before.iter().cloned().chain([peer]).collect()))
    }

    /// Returns the brokers in the order of the caller's way.
    #[must_use]
    pub fn brokers(&self) -> &[BrokerId] {
        &self.0
    }

    /// Returns the broker that authenticated the caller.
    #[must_use]
    pub fn first(&self) -> Option<&BrokerId> {
        self.0.first()
    }

    /// Returns the broker whose client certificate was verified.
    #[must_use]
    pub fn peer(&self) -> Option<&BrokerId> {
        self.0.last()
    }

    /// Returns the memory that the names take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|broker| size_of::<BrokerId>() + broker.bytes()).sum()
    }
}

impl BrokerId {
    fn bytes(&self) -> usize {
        match self {
            Self::Spiffe(id) => id.trust_domain().as_str().len() + id.path().len(),
            Self::Dns(name) => name.as_str().len(),
        }
    }
}

impl FromStr for Via {
    type Err = ViaError;

    fn from_str(text: &str) -> Result<Self, ViaError> {
        let brokers = text.split(SEPARATOR).map(parse_broker).collect::<Option<Arc<[_]>>>();
        let brokers = brokers.filter(|brokers| brokers.len() <= MAX_BROKERS);
        brokers.map(Self).ok_or_else(|| ViaError { text: text.to_owned() })
    }
}

/// Parses the name of a broker as principals are written.
fn parse_broker(text: &str) -> Option<BrokerId> {
    if let Some(name) = text.strip_prefix("dns:") {
        return name.parse().ok().map(BrokerId::Dns);
    }
    let id = SpiffeId::new(text).ok()?;
    // As for callers: one name for each workload, and a trust domain alone is not one.
    (!id.path().is_empty() && id.to_string() == text).then(|| BrokerId::Spiffe(Arc::new(id)))
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(index, broker)| {
            if index > 0 {
                write!(f, "{SEPARATOR}")?;
            }
            write!(f, "{broker}")
        })
    }
}

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spiffe(id) => write!(f, "{id}"),
            Self::Dns(name) => write!(f, "dns:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_of_up_to_three_brokers_is_read_and_written() {
        for text in [
            "spiffe://prod.example/node/a",
            "dns:cache-1.corp.example",
            "spiffe://prod.example/node/a,spiffe://prod.example/region/eu,dns:cache-1.corp.example",
        ] {
            assert_eq!(text.parse::<Via>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "uid:1001,gid:1001",
            "spiffe://prod.example",
            "spiffe://Prod.example/a",
            "spiffe://prod.example/a,",
            "spiffe://prod.example/a, spiffe://prod.example/b",
            "dns:a.example,dns:b.example,dns:c.example,dns:d.example",
            "jwt:blue:a",
            "via dns:a.example",
        ] {
            assert!(wrong.parse::<Via>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn peer_ends_the_chain_which_has_at_most_three_brokers() {
        let broker = |name: &str| BrokerId::Dns(name.parse().unwrap());
        let one = Via::ending_with(None, broker("a.example")).unwrap();
        assert_eq!((one.first(), one.peer()), (one.brokers().first(), Some(&broker("a.example"))));
        let two = Via::ending_with(Some(&one), broker("b.example")).unwrap();
        assert_eq!(two.to_string(), "dns:a.example,dns:b.example");
        assert_eq!((two.first(), two.peer()), (Some(&broker("a.example")), Some(&broker("b.example"))));
        let three = Via::ending_with(Some(&two), broker("c.example")).unwrap();
        assert_eq!(Via::ending_with(Some(&three), broker("d.example")), None);
    }
}
