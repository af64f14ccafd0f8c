//! Registry patterns: accounts and regions, in every form that a registry's host can have.

use super::hosts::Hosts;
use super::label::LabelPattern;
use crate::registry::{AccountId, PrivateRegistry, Region, Registry};

/// Registries that a grant covers, whichever form of their host a caller writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryPattern {
    /// Amazon ECR Public.
    Public,
    /// Private registries.
    Private {
        /// The accounts.
        accounts: Accounts,
        /// The regions; one match is enough.
        regions: Vec<LabelPattern>,
    },
}

/// Accounts that a grant covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accounts {
    /// Every account, also the one of a request that names none.
    Any,
    /// The listed accounts.
    Of(Vec<AccountId>),
}

impl RegistryPattern {
    /// Returns the pattern that covers one registry; `None` if its account is unknown, so that it could be any.
    #[must_use]
    pub fn only(registry: &Registry) -> Option<Self> {
        let Registry::Private(private) = registry else { return Some(Self::Public) };
        let region = private.region().as_str().parse().ok()?;
        Some(Self::Private { accounts: Accounts::Of(vec![private.account()?]), regions: vec![region] })
    }

    /// Returns the pattern of every private registry.
    #[must_use]
    pub fn every_private() -> Self {
        Self::Private { accounts: Accounts::Any, regions: vec![LabelPattern::everything()] }
    }

    /// Returns every form of its single hosts.
    pub(in crate::policy) fn hosts(&self) -> Hosts<'_> {
        match self {
            Self::Public => Hosts::public(),
            Self::Private { accounts: Accounts::Any, .. } => Hosts::default(),
            Self::Private { accounts: Accounts::Of(accounts), regions } => {
                let single = regions.iter().filter(|region| !region.is_open());
                Hosts::private(accounts.iter().map(AccountId::as_str), single)
            }
        }
    }

    /// Returns every form of its patterns of hosts. A `*` in a label matches any rest of that label.
    pub(in crate::policy) fn host_patterns(&self) -> Hosts<'_> {
        match self {
            Self::Public => Hosts::default(),
            Self::Private { accounts: Accounts::Any, regions } => Hosts::private(std::iter::once("*"), regions.iter()),
            Self::Private { accounts: Accounts::Of(accounts), regions } => {
                let open = regions.iter().filter(|region| region.is_open());
                Hosts::private(accounts.iter().map(AccountId::as_str), open)
            }
        }
    }

    /// Returns whether this pattern covers everything that `other` covers.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Public, Self::Public) => true,
            (Self::Private { accounts, regions }, Self::Private { accounts: inner, regions: inner_regions }) => {
                let region = |one: &LabelPattern| regions.iter().any(|outer| outer.contains(one));
                accounts.contains(inner) && inner_regions.iter().all(region)
            }
            (Self::Public, Self::Private { .. }) | (Self::Private { .. }, Self::Public) => false,
        }
    }

    /// Returns whether a registry exists that both patterns cover.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Public, Self::Public) => true,
            (Self::Private { accounts, regions }, Self::Private { accounts: others, regions: other_regions }) => {
                // Of two patterns with an open end that both match something, one has the other.
                let touch = |one: &LabelPattern, two: &LabelPattern| one.contains(two) || two.contains(one);
                let region = |one: &LabelPattern| other_regions.iter().any(|two| touch(one, two));
                accounts.intersects(others) && regions.iter().any(region)
            }
            (Self::Public, Self::Private { .. }) | (Self::Private { .. }, Self::Public) => false,
        }
    }

    /// Returns the accounts; `None`: all, or ECR Public.
    pub(in crate::policy) fn accounts(&self) -> Option<&[AccountId]> {
        match self {
            Self::Private { accounts: Accounts::Of(accounts), .. } => Some(accounts),
            Self::Private { accounts: Accounts::Any, .. } | Self::Public => None,
        }
    }

    /// Returns whether the pattern has registries in a region; ECR Public has no region.
    pub(in crate::policy) fn has_region(&self, region: Option<&Region>) -> bool {
        match (self, region) {
            (Self::Public, region) => region.is_none(),
            (Self::Private { regions, .. }, Some(region)) => regions.iter().any(|one| one.matches(region.as_str())),
            (Self::Private { .. }, None) => false,
        }
    }

    /// Returns the regions that the pattern names by their whole names.
    pub fn named_regions(&self) -> impl Iterator<Item = Region> {
        let regions = if let Self::Private { regions, .. } = self { regions.as_slice() } else { &[] };
        regions.iter().filter(|region| !region.is_open()).filter_map(|region| region.to_string().parse().ok())
    }

    /// Returns whether the pattern covers the registry. An unknown account is covered only by a pattern for every account.
    #[must_use]
    pub fn covers(&self, registry: &Registry) -> bool {
        match (self, registry) {
            (Self::Public, Registry::Public { .. }) => true,
            (Self::Private { accounts, regions }, Registry::Private(private)) => {
                accounts.cover(private.account()) && has_region_of(regions, private)
            }
            (Self::Public, Registry::Private(_)) | (Self::Private { .. }, Registry::Public { .. }) => false,
        }
    }

    /// Returns whether the pattern could cover the registry. An unknown account may be any account.
    pub(in crate::policy) fn may_cover(&self, registry: &Registry) -> bool {
        match (self, registry) {
            (Self::Private { regions, .. }, Registry::Private(private)) if private.account().is_none() => {
                has_region_of(regions, private)
            }
            _ => self.covers(registry),
        }
    }
}

impl Accounts {
    fn cover(&self, account: Option<AccountId>) -> bool {
        match self {
            Self::Any => true,
            Self::Of(accounts) => account.is_some_and(|account| accounts.contains(&account)),
        }
    }

    fn intersects(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Of(accounts), Self::Of(others)) => others.iter().any(|account| accounts.contains(account)),
        }
    }

    fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Of(_), Self::Any) => false,
            (Self::Of(accounts), Self::Of(others)) => others.iter().all(|account| accounts.contains(account)),
        }
    }
}

fn has_region_of(regions: &[LabelPattern], private: &PrivateRegistry) -> bool {
    regions.iter().any(|pattern| pattern.matches(private.region().as_str()))
}
