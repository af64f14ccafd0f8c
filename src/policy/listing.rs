//! Listing: what a policy allows one caller, host by host and pattern by pattern.

use std::borrow::Cow;

use super::decide::{Decision, decide};
use super::grant::{Effect, Grant, Policy};
use super::pattern::RegistryPattern;
use crate::caller::Caller;
use crate::credential::{Lifetime, ProfileName};
use crate::registry::{AccountId, Region, Registry};

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

/// The grants that apply to one caller. A list looks at no others.
#[derive(Debug)]
pub struct CallerGrants<'a> {
    policy: &'a Policy,
    grants: Vec<&'a Grant>,
}

/// Registries that a caller's grant allows, by its profile. Parts of it may still be denied.
#[derive(Debug)]
pub struct Allowed<'a> {
    registries: Cow<'a, RegistryPattern>,
    /// `None`: every profile.
    profile: Option<ProfileName>,
}

impl Policy {
    /// Returns the grants that apply to a caller.
    #[must_use]
    pub fn of_caller<'a>(&'a self, caller: &'a Caller) -> CallerGrants<'a> {
        CallerGrants::new(self, self.grants_of(caller).collect())
    }
}

impl<'a> CallerGrants<'a> {
    pub(super) fn new(policy: &'a Policy, grants: Vec<&'a Grant>) -> Self {
        Self { policy, grants }
    }

    /// Returns whether `profile` may mint the credentials of `registry` for the caller.
    #[must_use]
    pub fn allows(&self, registry: &Registry, profile: &ProfileName) -> bool {
        matches!(self.decide(registry, profile.as_str()), Decision::Allow { .. })
    }

    /// Returns whether the caller gets credentials of a lifetime if it requests `registry` by `profile`.
    #[must_use]
    pub fn allows_lifetime(&self, registry: &Registry, profile: &ProfileName, lifetime: Option<Lifetime>) -> bool {
        match self.decide(registry, profile.as_str()) {
            Decision::Allow { grant } => grant.and_then(|grant| grant.max_lifetime) == lifetime,
            Decision::Deny { .. } => false,
        }
    }

    /// Returns the profile that mints for a request that names none; `None` if the request is denied.
    #[must_use]
    pub fn chosen_profile(&self, registry: &Registry) -> Option<ProfileName> {
        match self.decide(registry, "") {
            Decision::Allow { grant } => {
                let profile = grant.and_then(|grant| grant.profile.clone());
                Some(profile.unwrap_or_else(ProfileName::default_profile))
            }
            Decision::Deny { .. } => None,
        }
    }

    /// Returns what the caller's allows name, unless one deny covers all of it.
    #[must_use]
    pub fn allowed(&self) -> Vec<Allowed<'a>> {
        if self.is_open() {
            let all = [RegistryPattern::Public, RegistryPattern::every_private()];
            return all.map(|one| Allowed { registries: Cow::Owned(one), profile: None }).into();
        }
        let of_grant = |grant: &'a Grant| {
            let profile = grant.profile.clone().unwrap_or_else(ProfileName::default_profile);
            let left = grant.registries.iter().filter(|one| !self.denies_all_of(one, &profile));
            let allowed = |one| Allowed { registries: Cow::Borrowed(one), profile: Some(profile.clone()) };
            left.map(allowed).collect::<Vec<_>>()
        };
        self.of(Effect::Allow).flat_map(of_grant).collect()
    }

    /// Returns whether a list entry is allowed. A pattern stands as granted: of it only single registries may be denied.
    #[must_use]
    pub fn may_list(&self, listing: &Listing) -> bool {
        listing.is_pattern || listing.name.parse().is_ok_and(|registry| self.allows(&registry, &listing.profile))
    }

    /// Returns whether one deny covers every credential of a profile in a region; ECR Public has no region.
    #[must_use]
    pub fn denies_region(&self, profile: &ProfileName, region: Option<&Region>) -> bool {
        self.denies(profile, |denied| denied.accounts().is_none() && denied.has_region(region))
    }

    /// Lists the registries that the caller's grants name and that it may have without naming a profile, by their plain hosts.
    pub fn named_registries(&self) -> impl Iterator<Item = Registry> {
        let named = self.allowed().into_iter().flat_map(|allowed| allowed.listings(None).collect::<Vec<_>>());
        let named = named.filter(|listing| !listing.is_pattern && self.may_list(listing));
        let plain = named.filter_map(|listing| listing.name.parse().ok()).filter(Registry::is_plain);
        plain.filter(|registry| self.chosen_profile(registry).is_some())
    }

    fn is_open(&self) -> bool {
        *self.policy == Policy::Open
    }

    fn of(&self, effect: Effect) -> impl Iterator<Item = &'a Grant> {
        self.grants.iter().copied().filter(move |grant| grant.effect == effect)
    }

    fn decide(&self, registry: &Registry, profile: &str) -> Decision<'a> {
        if self.is_open() {
            return Decision::Allow { grant: None };
        }
        decide(|effect| self.of(effect), registry, profile)
    }

    /// Returns whether one deny covers the whole pattern.
    fn denies_all_of(&self, pattern: &RegistryPattern, profile: &ProfileName) -> bool {
        self.denies(profile, |denied| denied.contains(pattern))
    }

    /// Returns whether a deny of the profile has a pattern that `covers` accepts.
    fn denies(&self, profile: &ProfileName, covers: impl Fn(&RegistryPattern) -> bool) -> bool {
        self.of(Effect::Deny).any(|grant| {
            grant.profile.as_ref().is_none_or(|denied| denied == profile) && grant.registries.iter().any(&covers)
        })
    }
}

impl Allowed<'_> {
    /// Returns the accounts; `None`: all, or ECR Public.
    #[must_use]
    pub fn accounts(&self) -> Option<&[AccountId]> {
        self.registries.accounts()
    }

    /// Returns whether it has credentials of a profile in a region; ECR Public has no region.
    #[must_use]
    pub fn has_group(&self, profile: &ProfileName, region: Option<&Region>) -> bool {
        self.profile.as_ref().is_none_or(|own| own == profile) && self.registries.has_region(region)
    }

    /// Returns the profile; `None`: every profile.
    #[must_use]
    pub fn profile(&self) -> Option<&ProfileName> {
        self.profile.as_ref()
    }

    /// Returns its hosts and then its patterns of hosts, in order, from the entry `after` on. They are built one by one. Single hosts
    /// may be denied.
    pub fn listings(&self, after: Option<&Listing>) -> impl Iterator<Item = Listing> {
        let profile = self.profile.clone().unwrap_or_else(ProfileName::default_profile);
        let is_beyond_hosts = after.is_some_and(|after| after.is_pattern);
        let name_of = |is_pattern| after.filter(|after| after.is_pattern == is_pattern).map_or("", |after| &after.name);
        let hosts = (!is_beyond_hosts).then(|| self.registries.hosts().from(name_of(false)));
        let patterns = self.registries.host_patterns().from(name_of(true));
        let named = hosts.into_iter().flatten().map(|name| (false, name)).chain(patterns.map(|name| (true, name)));
        let after = after.cloned();
        let listings = named.map(move |(is_pattern, name)| Listing { is_pattern, name, profile: profile.clone() });
        listings.skip_while(move |listing| after.as_ref().is_some_and(|after| listing <= after))
    }
}
