//! Listing: what a policy allows one caller, host by host and pattern by pattern.

use super::decide::Decision;
use super::grant::{Effect, Grant, Policy};
use super::pattern::RegistryPattern;
use crate::caller::Caller;
use crate::credential::ProfileName;
use crate::registry::Registry;

/// A host or a pattern of hosts that a caller may request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listing {
    /// Whether `name` is a pattern of hosts rather than a host.
    pub is_pattern: bool,
    /// The host or pattern.
    pub name: String,
    /// The profile that would mint the credential.
    pub profile: ProfileName,
}

impl Policy {
    /// Returns whether `caller` may have the credentials of `registry` by `profile`.
    #[must_use]
    pub fn allows(&self, caller: &Caller, registry: &Registry, profile: &ProfileName) -> bool {
        matches!(self.decide(caller, registry, profile.as_str()), Decision::Allow { .. })
    }

    /// Returns the profile that mints for a request that names none; `None` if the request is denied.
    #[must_use]
    pub fn chosen_profile(&self, caller: &Caller, registry: &Registry) -> Option<ProfileName> {
        match self.decide(caller, registry, "") {
            Decision::Allow { grant } => {
                let profile = grant.and_then(|grant| grant.profile.clone());
                Some(profile.unwrap_or_else(ProfileName::default_profile))
            }
            Decision::Deny { .. } => None,
        }
    }

    /// Lists what a caller may request. Denied hosts are left out. A pattern stands as granted unless one deny covers all of it.
    pub fn listings<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = Listing> + 'a {
        self.allowed_patterns(caller).into_iter().flat_map(move |(pattern, profile)| {
            let listing = |name: String| Listing { is_pattern: name.contains('*'), name, profile: profile.clone() };
            let listings: Vec<_> = pattern.hosts().into_iter().map(listing).collect();
            listings.into_iter().filter(move |one| {
                let registry = one.name.parse();
                registry.map_or(one.is_pattern, |registry| self.allows(caller, &registry, &one.profile))
            })
        })
    }

    /// Lists the registries that a caller's grants name and that it may have without naming a profile, by their plain hosts.
    pub fn named_registries<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = Registry> + 'a {
        let named = self.listings(caller).filter(|listing| !listing.is_pattern);
        let plain = named.filter_map(|listing| listing.name.parse().ok()).filter(Registry::is_plain);
        plain.filter(|registry| self.chosen_profile(caller, registry).is_some())
    }

    /// Returns the registries of a caller's allows, each with its profile.
    fn allowed_patterns(&self, caller: &Caller) -> Vec<(RegistryPattern, ProfileName)> {
        let default = ProfileName::default_profile;
        if *self == Self::Open {
            return [RegistryPattern::Public, RegistryPattern::every_private()].map(|one| (one, default())).into();
        }
        let allows = self.grants_of(caller).filter(|grant| grant.effect == Effect::Allow);
        let of_grant = |grant: &Grant| {
            let profile = grant.profile.clone().unwrap_or_else(default);
            let left = grant.registries.iter().filter(|one| !self.denies_all_of(caller, one, &profile));
            left.map(|one| (one.clone(), profile.clone())).collect::<Vec<_>>()
        };
        allows.flat_map(of_grant).collect()
    }

    /// Returns whether one deny covers the whole pattern.
    fn denies_all_of(&self, caller: &Caller, pattern: &RegistryPattern, profile: &ProfileName) -> bool {
        self.grants_of(caller).any(|grant| {
            grant.effect == Effect::Deny
                && grant.profile.as_ref().is_none_or(|denied| denied == profile)
                && grant.registries.iter().any(|denied| denied.contains(pattern))
        })
    }
}
