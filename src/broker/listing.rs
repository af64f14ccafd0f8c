//! Listing of what a caller may request: what its grants allow, aliases, and what is cached.
//!
//! A page looks at the caller's own grants and at the cached credentials that they cover, up to the end of the page. So a list costs
//! the same however many credentials other callers have cached, and whatever their grants are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use crate::cache::{CredentialCache, Scope};
use crate::caller::{Caller, Principal};
use crate::credential::ProfileName;
use crate::policy::{Allowed, CallerGrants, Listing, Policy};
use crate::registry::{Aliases, Registry, ResolvedRegistry};

/// A page of a list.
#[derive(Debug, Default)]
pub struct ListPage {
    /// The entries in their order, with the expiry of cached credentials.
    pub entries: Vec<(Listing, Option<SystemTime>)>,
    /// Whether entries follow.
    pub has_more: bool,
}

/// What a list is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lister<'a> {
    pub(super) policy: &'a Policy,
    pub(super) aliases: &'a Aliases,
    pub(super) cache: &'a CredentialCache,
}

/// An entry of which only its page decides whether it is allowed.
#[derive(Debug, Default)]
struct Candidate {
    is_allowed: bool,
    expires: Option<SystemTime>,
}

type Candidates = BTreeMap<Listing, Candidate>;

impl Lister<'_> {
    /// Returns up to `size` entries after `after`.
    pub(super) fn page(&self, caller: &Caller, after: Option<&Listing>, size: usize) -> ListPage {
        let (grants, principal) = (self.policy.of_caller(caller), caller.principal());
        let allowed = grants.allowed();
        if allowed.is_empty() {
            return ListPage::default();
        }
        let mut candidates = named(&allowed);
        self.add_aliases(&grants, &allowed, &principal, &mut candidates);
        candidates.retain(|listing, _| after.is_none_or(|after| listing > after));
        if after.is_none_or(|after| !after.is_pattern) {
            // One more than the page has: it tells that entries follow.
            let limit = size.saturating_add(1);
            for one in &allowed {
                self.add_cached(&grants, one, &principal, (after, limit), &mut candidates);
            }
        }
        let listed = candidates.into_iter().filter(|(listing, one)| one.is_allowed || grants.may_list(listing));
        let mut listed = listed.map(|(listing, one)| (listing, one.expires));
        let entries = listed.by_ref().take(size).collect();
        ListPage { entries, has_more: listed.next().is_some() }
    }

    /// Lists the registries that a caller's grants name by a whole host, and the aliases of all that it may have.
    pub(super) fn named_registries(&self, caller: &Caller) -> BTreeSet<ResolvedRegistry> {
        let grants = self.policy.of_caller(caller);
        let aliases = self.aliases.iter().filter(|(_, registry)| grants.chosen_profile(registry).is_some());
        let aliases =
            aliases.map(|(alias, registry)| ResolvedRegistry { registry: registry.clone(), alias: Some(alias.into()) });
        grants.named_registries().map(ResolvedRegistry::from).chain(aliases).collect()
    }

    /// Adds the aliases of registries that the caller may have: with the profile that would be used, and with others if these are
    /// cached.
    fn add_aliases(
        &self,
        grants: &CallerGrants<'_>,
        allowed: &[Allowed<'_>],
        caller: &Principal,
        candidates: &mut Candidates,
    ) {
        let profiles: BTreeSet<_> = allowed.iter().filter_map(Allowed::profile).collect();
        for (alias, registry) in self.aliases.iter() {
            let chosen = grants.chosen_profile(registry);
            for profile in profiles.iter().copied().chain(&chosen) {
                let expires = self.cached_expiry(grants, registry, profile, caller);
                if expires.is_some() || chosen.as_ref() == Some(profile) {
                    candidates.insert(of_host(alias.to_owned(), profile), Candidate { is_allowed: true, expires });
                }
            }
        }
    }

    fn cached_expiry(
        &self,
        grants: &CallerGrants<'_>,
        registry: &Registry,
        profile: &ProfileName,
        caller: &Principal,
    ) -> Option<SystemTime> {
        self.cache.cached_expiry(registry, profile, caller).filter(|_| grants.allows(registry, profile))
    }

    /// Adds cached credentials that one of the caller's allows covers.
    fn add_cached(
        &self,
        grants: &CallerGrants<'_>,
        allowed: &Allowed<'_>,
        caller: &Principal,
        (after, limit): (Option<&Listing>, usize),
        candidates: &mut Candidates,
    ) {
        let scope = Scope {
            caller,
            has_group: &|profile, region| allowed.has_group(profile, region) && !grants.denies_region(profile, region),
            accounts: allowed.accounts(),
            after: after.map(|after| (after.name.as_str(), &after.profile)),
        };
        for cached in self.cache.cached_in(&scope, limit, |registry, profile| grants.allows(registry, profile)) {
            let candidate = candidates.entry(of_host(cached.host, &cached.profile)).or_default();
            candidate.is_allowed = true;
            candidate.expires = candidate.expires.max(Some(cached.expires));
        }
    }
}

/// Returns the hosts and patterns that a caller's allows name.
fn named(allowed: &[Allowed<'_>]) -> Candidates {
    allowed.iter().flat_map(Allowed::listings).map(|listing| (listing, Candidate::default())).collect()
}

fn of_host(name: String, profile: &ProfileName) -> Listing {
    Listing { is_pattern: false, name, profile: profile.clone() }
}
