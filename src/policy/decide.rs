//! The decision: one request against all grants. `tests/oracle.rs` compares it with Cedar.

use std::collections::BTreeSet;

use super::grant::{Effect, Grant, Policy};
use crate::caller::Caller;
use crate::credential::{Lifetime, ProfileName};
use crate::registry::Registry;

/// The verdict on one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision<'a> {
    /// The caller may have the credential.
    Allow {
        /// The grant that decided; `None` under an open policy.
        grant: Option<&'a Grant>,
    },
    /// The caller may not have the credential.
    Deny {
        /// The grant that denies the request; `None` if no grant allows it.
        grant: Option<&'a Grant>,
    },
}

impl Policy {
    /// Decides whether `caller` may have the credentials of `registry`. An empty `profile` leaves the choice to the policy.
    #[must_use]
    pub fn decide(&self, caller: &Caller, registry: &Registry, profile: &str) -> Decision<'_> {
        if *self == Self::Open {
            return Decision::Allow { grant: None };
        }
        let of = |effect| self.grants().iter().filter(move |grant| grant.effect == effect && grant.applies_to(caller));
        decide(of, registry, profile)
    }

    /// Returns the grants that apply to a caller, in their order.
    pub fn grants_of<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = &'a Grant> {
        self.grants().iter().filter(move |grant| grant.applies_to(caller))
    }

    /// Returns the grant that makes a caller an operator. No deny takes that away, for it names registries.
    #[must_use]
    pub fn operator_grant(&self, caller: &Caller) -> Option<&Grant> {
        self.grants().iter().find(|grant| grant.effect == Effect::Operate && grant.applies_to(caller))
    }

    /// Returns the profiles and lifetimes with which any caller may have a registry's credentials.
    #[must_use]
    pub fn credentials_for(&self, registry: &Registry) -> BTreeSet<(ProfileName, Option<Lifetime>)> {
        let default = ProfileName::default_profile;
        if *self == Self::Open {
            return BTreeSet::from([(default(), None)]);
        }
        let allows = self.grants().iter().filter(|grant| grant.effect == Effect::Allow && grant.has_registry(registry));
        allows.map(|grant| (grant.profile.clone().unwrap_or_else(default), grant.max_lifetime)).collect()
    }
}

/// Decides a request by the grants of its caller, which `of` returns for each effect.
pub(super) fn decide<'a, G>(of: impl Fn(Effect) -> G, registry: &Registry, profile: &str) -> Decision<'a>
where
    G: Iterator<Item = &'a Grant>,
{
    let allowed = of(Effect::Allow).find(|grant| grant.covers(registry, profile));
    let profile = allowed.and_then(|grant| grant.profile.as_ref()).map_or(profile, ProfileName::as_str);
    let denied = of(Effect::Deny).find(|grant| grant.may_cover(registry, profile));
    match (denied, allowed) {
        (None, Some(grant)) => Decision::Allow { grant: Some(grant) },
        (denied, _) => Decision::Deny { grant: denied },
    }
}

impl Grant {
    pub(super) fn applies_to(&self, caller: &Caller) -> bool {
        match self.effect {
            Effect::Deny => self.callers.iter().any(|pattern| pattern.denies(caller)),
            Effect::Allow | Effect::Operate => self.callers.iter().any(|pattern| pattern.matches(caller)),
        }
    }

    /// Returns whether the grant covers the request for every account and profile that it may resolve to.
    fn covers(&self, registry: &Registry, profile: &str) -> bool {
        self.has_profile(profile) && self.has_registry(registry)
    }

    /// Returns whether the grant covers the request for at least one account and profile that it may resolve to.
    fn may_cover(&self, registry: &Registry, profile: &str) -> bool {
        let profile = profile.is_empty() || self.profile.is_none() || self.has_profile(profile);
        profile && self.registries.iter().any(|pattern| pattern.may_cover(registry))
    }

    fn has_profile(&self, profile: &str) -> bool {
        profile.is_empty() || self.profile.as_ref().is_some_and(|own| own.as_str() == profile)
    }

    fn has_registry(&self, registry: &Registry) -> bool {
        self.registries.iter().any(|pattern| pattern.covers(registry))
    }
}
