//! Registries of either kind, private or public, and their parser.

use std::str::FromStr;

use super::account::AccountId;
use super::error::RegistryError;
use super::host::Host;
use super::partition::Partition;
use super::private::{EndpointVariant, PrivateRegistry};
use super::reference;
use super::region::Region;

/// The host of ECR Public.
const PUBLIC_HOST: &str = "public.ecr.aws";
/// The dual-stack host of ECR Public, which answers over IPv4 and IPv6.
const PUBLIC_DUAL_STACK_HOST: &str = "ecr-public.aws.com";
const HTTPS: u16 = 443;

/// An ECR registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Registry {
    /// The registry of one account in one region.
    Private(PrivateRegistry),
    /// Amazon ECR Public.
    Public {
        /// Whether the request named the dual-stack host.
        dual_stack: bool,
    },
}

impl Registry {
    /// The public registry by its plain host.
    pub const PUBLIC: Self = Self::Public { dual_stack: false };

    /// The hosts of the public registry.
    pub const PUBLIC_HOSTS: [&'static str; 2] = [PUBLIC_HOST, PUBLIC_DUAL_STACK_HOST];

    /// Returns the account of a private registry, if it is known.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        match self {
            Self::Private(private) => private.account(),
            Self::Public { .. } => None,
        }
    }

    /// Returns the private registry of the identity that calls AWS, in the same region and by the same kind of endpoint.
    #[must_use]
    pub fn without_account(&self) -> Self {
        match self {
            Self::Private(private) => Self::Private(private.without_account()),
            Self::Public { .. } => self.clone(),
        }
    }

    /// Returns the region of a private registry.
    #[must_use]
    pub fn region(&self) -> Option<&Region> {
        match self {
            Self::Private(private) => Some(private.region()),
            Self::Public { .. } => None,
        }
    }

    /// Returns whether the registry is neither FIPS nor dual-stack.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        match self {
            Self::Private(private) => private.variant() == EndpointVariant::default(),
            Self::Public { dual_stack } => !dual_stack,
        }
    }

    /// Returns the host; `None` for a private registry without an account, whose host only AWS knows.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        match self {
            Self::Private(private) => private.account().map(|account| private.host(account)),
            Self::Public { dual_stack: false } => Some(PUBLIC_HOST.to_owned()),
            Self::Public { dual_stack: true } => Some(PUBLIC_DUAL_STACK_HOST.to_owned()),
        }
    }

    /// Returns the host; that in `account` for a private registry without an account, and `None` if both are unknown.
    #[must_use]
    pub fn host_in(&self, account: Option<AccountId>) -> Option<String> {
        match self {
            Self::Private(private) => private.account().or(account).map(|account| private.host(account)),
            Self::Public { .. } => self.host(),
        }
    }

    /// Returns all host forms of the private registries of an account in a region. Either may be a pattern.
    #[must_use]
    pub fn host_patterns(account: &str, region: &str) -> Vec<String> {
        let mut hosts: Vec<_> =
            Partition::all_owning(region).flat_map(|partition| partition.hosts(account, region)).collect();
        hosts.sort();
        hosts.dedup();
        hosts
    }
}

/// Parses a host, a URL or an image reference; only the host decides.
impl FromStr for Registry {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let (host, port) = reference::host_and_port(text)?;
        match host.as_str() {
            PUBLIC_HOST => Ok(Self::Public { dual_stack: false }),
            PUBLIC_DUAL_STACK_HOST => Ok(Self::Public { dual_stack: true }),
            _ => match Host::parse(&host) {
                Some(parts) => parts.registry().map(Self::Private),
                None => Err(RegistryError::NotEcr { host: with_port(host, port) }),
            },
        }
    }
}

/// A registry that does not belong to ECR may be at any port.
fn with_port(host: String, port: Option<u16>) -> String {
    match port {
        None | Some(HTTPS) => host,
        Some(port) => format!("{host}:{port}"),
    }
}
