//! Listing of what a caller may request: what its grants allow, aliases, and what is cached.
//!
//! A page looks at the caller's own grants and at the cached credentials that they cover, up to the end of the page. So a list costs
//! the same however many credentials other callers have cached, and whatever their grants are. Hosts are built as the page reaches
//! them, in the order of the list.

use std::collections::BTreeSet;
use std::time::SystemTime;

pub use self::merge::ListPage;

use self::merge::{Source, Verdict, page_of};
use super::forwarding::Forwarding;
use super::profiles::Profiles;
use crate::cache::{Cached, CredentialCache, OwnKeys, Scope};
use crate::caller::Caller;
use crate::credential::ProfileName;
use crate::policy::{Allowed, CallerGrants, IndexedPolicy, Listing};
use crate::registry::{Aliases, Registry, ResolvedRegistry};

mod merge;

/// What a list is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lister<'a> {
    pub(super) policy: &'a IndexedPolicy,
    pub(super) profiles: &'a Profiles,
    pub(super) forwarding: &'a Forwarding,
    pub(super) aliases: &'a Aliases,
    pub(super) cache: &'a CredentialCache,
}

impl Lister<'_> {
    /// Returns up to `size` entries after `after`.
    pub(super) fn page(&self, caller: &Caller, after: Option<&Listing>, size: usize) -> ListPage {
        let grants = self.policy.of_caller(caller);
        let allowed = grants.allowed();
        if allowed.is_empty() {
            return ListPage::default();
        }
        let own = self.own_keys(caller, &allowed);
        let mut sources: Vec<_> = allowed.iter().map(|one| named(one, after)).collect();
        if after.is_none_or(|after| !after.is_pattern) {
            sources.push(self.aliases(&grants, &allowed, &own, after));
            // One more than the page has: it tells that entries follow.
            let part = (after, size.saturating_add(1));
            sources.extend(allowed.iter().map(|one| self.cached(&grants, one, &own, part)));
        }
        page_of(sources, size, |listing| grants.may_list(listing))
    }

    /// Returns the names by which a caller's own credentials of the allowed profiles are cached, as requests for them would find them.
    fn own_keys(&self, caller: &Caller, allowed: &[Allowed<'_>]) -> OwnKeys {
        let mut own = self.forwarding.principal(caller).map(OwnKeys::of_any_profile).unwrap_or_default();
        let is_allowed = |name| allowed.iter().any(|one| one.profile().is_none_or(|profile| profile == name));
        for profile in self.profiles.all().filter(|profile| is_allowed(&profile.name)) {
            // Without the claims that the session needs, the caller gets no credential.
            if let Ok(Some(session)) = profile.session_of(caller) {
                own.add(profile.name.clone(), session);
            }
        }
        own
    }

    /// Lists the registries that a caller's grants name by a whole host, and the aliases of all that it may have.
    pub(super) fn named_registries(&self, caller: &Caller) -> BTreeSet<ResolvedRegistry> {
        let grants = self.policy.of_caller(caller);
        let aliases = self.aliases.iter().filter(|(_, registry)| grants.chosen_profile(registry).is_some());
        let aliases =
            aliases.map(|(alias, registry)| ResolvedRegistry { registry: registry.clone(), alias: Some(alias.into()) });
        grants.named_registries().map(ResolvedRegistry::from).chain(aliases).collect()
    }

    /// Returns the aliases of registries that the caller may have: with the profile that would be used, and with others if these are
    /// cached. Others are denied entries: the page ends before the aliases beyond it are looked at.
    fn aliases<'a>(
        &'a self,
        grants: &'a CallerGrants<'_>,
        allowed: &'a [Allowed<'_>],
        own: &'a OwnKeys,
        after: Option<&Listing>,
    ) -> Source<'a> {
        let profiles: BTreeSet<_> = allowed.iter().filter_map(Allowed::profile).collect();
        let entries = self.aliases.from(after.map_or("", |after| &after.name)).flat_map(move |(alias, registry)| {
            let chosen = grants.chosen_profile(registry);
            let profiles: BTreeSet<_> = profiles.iter().copied().chain(&chosen).collect();
            let entry = |profile: &ProfileName| {
                let expires = self.cached_expiry(grants, registry, profile, own);
                let is_allowed = expires.is_some() || chosen.as_ref() == Some(profile);
                let verdict = if is_allowed { Verdict::Allowed(expires) } else { Verdict::Denied };
                (of_host(alias.to_owned(), profile), verdict)
            };
            let none = profiles
                .is_empty()
                .then(|| (of_host(alias.to_owned(), &ProfileName::default_profile()), Verdict::Denied));
            profiles.into_iter().map(entry).chain(none).collect::<Vec<_>>()
        });
        let after = after.cloned();
        Box::new(entries.skip_while(move |(listing, _)| after.as_ref().is_some_and(|after| listing <= after)))
    }

    fn cached_expiry(
        &self,
        grants: &CallerGrants<'_>,
        registry: &Registry,
        profile: &ProfileName,
        own: &OwnKeys,
    ) -> Option<SystemTime> {
        let cached = self.cache.cached_expiries(registry, profile, own).into_iter();
        let allowed = cached.filter(|(lifetime, _)| grants.allows_lifetime(registry, profile, *lifetime));
        allowed.map(|(_, expires)| expires).max()
    }

    /// Returns cached credentials that one of the caller's allows covers.
    fn cached<'a>(
        &self,
        grants: &CallerGrants<'_>,
        allowed: &Allowed<'_>,
        own: &OwnKeys,
        (after, limit): (Option<&Listing>, usize),
    ) -> Source<'a> {
        let scope = Scope {
            own,
            has_group: &|profile, region| allowed.has_group(profile, region) && !grants.denies_region(profile, region),
            accounts: allowed.accounts(),
            after: after.map(|after| (after.name.as_str(), &after.profile)),
        };
        let is_allowed = |registry: &_, profile: &_, lifetime| grants.allows_lifetime(registry, profile, lifetime);
        let cached = self.cache.cached_in(&scope, limit, is_allowed);
        let entry = |one: Cached| (of_host(one.host, &one.profile), Verdict::Allowed(Some(one.expires)));
        Box::new(cached.into_iter().map(entry))
    }
}

/// Returns the hosts and patterns that one of a caller's allows names.
fn named<'a>(allowed: &'a Allowed<'_>, after: Option<&'a Listing>) -> Source<'a> {
    Box::new(allowed.listings(after).map(|listing| (listing, Verdict::AsGranted)))
}

fn of_host(name: String, profile: &ProfileName) -> Listing {
    Listing { is_pattern: false, name, profile: profile.clone() }
}
