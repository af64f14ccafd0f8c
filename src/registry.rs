//! Which registry: accounts, regions, partitions, and the grammar of ECR's hosts.
//!
//! Everything a caller writes is parsed here, once, into a [`Registry`] that cannot be wrong. The grammar is the one of AWS's
//! own clients (amazon-ecr-credential-helper 0.12, cloud-provider-aws), but stricter: a suffix takes only the regions of its
//! own partitions, and `dkr.ecr` and `dkr-ecr` only their own suffixes.

use std::fmt;
use std::str::FromStr;

use self::host::Host;
use crate::quoted::Quoted;

mod aliases;
mod host;
mod partition;
mod reference;

pub use self::aliases::{Aliases, DOCKER_HUB, Named};
pub use self::partition::Partition;

/// The host of ECR Public.
const PUBLIC_HOST: &str = "public.ecr.aws";
const HTTPS: u16 = 443;
/// The host of ECR Public that answers over IPv4 and IPv6.
const PUBLIC_DUAL_STACK_HOST: &str = "ecr-public.aws.com";

/// An AWS account: twelve digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId([u8; 12]);

/// An AWS region that one of the [`Partition`]s owns, such as `eu-central-1`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region {
    name: Box<str>,
    partition: Partition,
}

/// Which of a service's endpoints: a FIPS or dual-stack registry host goes with the AWS API endpoint of the same kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointVariant {
    /// FIPS 140 validated cryptography.
    pub fips: bool,
    /// IPv4 and IPv6.
    pub dual_stack: bool,
}

/// A registry that credentials can be had for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Registry {
    /// The registry of one account in one region.
    Private(PrivateRegistry),
    /// Amazon ECR Public.
    Public {
        /// Whether the dual-stack host was asked for.
        dual_stack: bool,
    },
}

/// The registry of one account in one region.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrivateRegistry {
    account: Option<AccountId>,
    region: Region,
    variant: EndpointVariant,
}

/// Why a text is no registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// A well-formed host, but nothing of ECR's.
    #[error(
        "{host:?} is not an ECR registry: private registries are ACCOUNT.dkr.ecr.REGION.amazonaws.com, public ones public.ecr.aws"
    )]
    NotEcr {
        /// The host, normalised, with its port, where that is not the usual one.
        host: String,
    },
    /// Not a host at all, or one that comes close to ECR's and is wrong.
    #[error("{0}")]
    Invalid(String),
}

impl RegistryError {
    fn invalid(problem: impl Into<String>) -> Self {
        Self::Invalid(problem.into())
    }
}

impl AccountId {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for AccountId {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        <[u8; 12]>::try_from(text.as_bytes())
            .ok()
            .filter(|digits| digits.iter().all(u8::is_ascii_digit))
            .map(Self)
            .ok_or_else(|| {
                RegistryError::invalid(format!("{} is not an AWS account id: those have twelve digits", Quoted(text)))
            })
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Region {
    /// The region's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The partition that owns it.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.partition
    }
}

impl FromStr for Region {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let partition = Partition::owning(text).ok_or_else(|| {
            RegistryError::invalid(format!("{} is not an AWS region: those are like \"eu-central-1\"", Quoted(text)))
        })?;
        Ok(Self { name: text.into(), partition })
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl PrivateRegistry {
    /// A registry by its parts; without an account it is the one of whoever asks AWS.
    ///
    /// # Errors
    /// Where the region's partition has no dual-stack registries.
    pub fn new(account: Option<AccountId>, region: Region, variant: EndpointVariant) -> Result<Self, RegistryError> {
        if region.partition().registry_suffix(variant.dual_stack).is_none() {
            return Err(RegistryError::invalid(format!("region {region} has no dual-stack registries")));
        }
        Ok(Self { account, region, variant })
    }

    /// The account, where it is known.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        self.account
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The kind of endpoint.
    #[must_use]
    pub fn variant(&self) -> EndpointVariant {
        self.variant
    }

    /// The registry's host, once its account is known.
    #[must_use]
    pub fn host(&self, account: AccountId) -> String {
        let EndpointVariant { fips, dual_stack } = self.variant;
        let service = if dual_stack { "dkr-ecr" } else { "dkr.ecr" };
        let fips = if fips { "-fips" } else { "" };
        let suffix = self.region.partition().registry_suffix(dual_stack).unwrap_or_default();
        format!("{account}.{service}{fips}.{}.{suffix}", self.region)
    }
}

impl Registry {
    /// The public registry's plain form.
    pub const PUBLIC: Self = Self::Public { dual_stack: false };

    /// The hosts of the public registry.
    pub const PUBLIC_HOSTS: [&'static str; 2] = [PUBLIC_HOST, PUBLIC_DUAL_STACK_HOST];

    /// The account, for a private registry whose account is known.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        match self {
            Self::Private(private) => private.account,
            Self::Public { .. } => None,
        }
    }

    /// The region, for a private registry.
    #[must_use]
    pub fn region(&self) -> Option<&Region> {
        match self {
            Self::Private(private) => Some(&private.region),
            Self::Public { .. } => None,
        }
    }

    /// Whether it is neither FIPS nor dual-stack.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        match self {
            Self::Private(private) => private.variant == EndpointVariant::default(),
            Self::Public { dual_stack } => !dual_stack,
        }
    }

    /// The host, where it is known before AWS is asked: always, but for a private registry without an account.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        match self {
            Self::Private(private) => private.account.map(|account| private.host(account)),
            Self::Public { dual_stack: false } => Some(PUBLIC_HOST.to_owned()),
            Self::Public { dual_stack: true } => Some(PUBLIC_DUAL_STACK_HOST.to_owned()),
        }
    }

    /// The host forms of private registries of an account in a region, either of which may be a pattern.
    #[must_use]
    pub fn host_patterns(account: &str, region: &str) -> Vec<String> {
        let mut hosts: Vec<_> =
            Partition::all_owning(region).flat_map(|partition| partition.hosts(account, region)).collect();
        hosts.sort();
        hosts.dedup();
        hosts
    }
}

/// Takes a host, a URL or an image reference; only the host decides.
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

/// Somebody else's registry may be at any port.
fn with_port(host: String, port: Option<u16>) -> String {
    match port {
        None | Some(HTTPS) => host,
        Some(port) => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests;
