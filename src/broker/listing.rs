//! Listing of what a caller may request: what its grants allow, aliases, and what is cached.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use super::released::{account, host};
use crate::caller::Caller;
use crate::credential::{Credential, CredentialKey, ProfileName};
use crate::policy::{Listing, Policy};
use crate::registry::{Aliases, Registry, ResolvedRegistry};

/// Lists what a caller may request, with the expiry of cached credentials.
pub(super) fn registries(
    policy: &Policy,
    aliases: &Aliases,
    cached: Vec<(CredentialKey, Arc<Credential>)>,
    caller: &Caller,
) -> BTreeMap<Listing, Option<SystemTime>> {
    let mut listings: BTreeMap<_, _> = policy.listings(caller).map(|listing| (listing, None)).collect();
    for (alias, _, profile) in allowed_aliases(policy, aliases, caller) {
        listings.insert(of_host(alias.to_owned(), profile), None);
    }
    for (key, credential) in cached {
        let is_own = key.caller.as_ref().is_none_or(|own| *own == caller.principal());
        if !is_own || !policy.allows(caller, &key.registry, &key.profile) {
            continue;
        }
        for name in names(&key.registry, &credential, aliases) {
            let expiry: &mut Option<SystemTime> = listings.entry(of_host(name, key.profile.clone())).or_default();
            *expiry = (*expiry).max(Some(credential.expires()));
        }
    }
    listings
}

/// Lists the registries that a caller's grants name by a whole host, and the aliases of all that it may have.
pub(super) fn named_registries(policy: &Policy, aliases: &Aliases, caller: &Caller) -> BTreeSet<ResolvedRegistry> {
    let aliases = allowed_aliases(policy, aliases, caller);
    let aliases =
        aliases.map(|(alias, registry, _)| ResolvedRegistry { registry: registry.clone(), alias: Some(alias.into()) });
    policy.named_registries(caller).map(ResolvedRegistry::from).chain(aliases).collect()
}

/// Returns the aliases of registries that a caller may have without naming a profile, with the profile that would be used.
fn allowed_aliases<'a>(
    policy: &'a Policy,
    aliases: &'a Aliases,
    caller: &'a Caller,
) -> impl Iterator<Item = (&'a str, &'a Registry, ProfileName)> {
    let profile = |registry| policy.chosen_profile(caller, registry);
    aliases.iter().filter_map(move |(alias, registry)| Some((alias, registry, profile(registry)?)))
}

/// Returns the host of a registry and its aliases; nothing for a private registry whose account is unknown.
fn names(registry: &Registry, credential: &Credential, aliases: &Aliases) -> Vec<String> {
    let Some(host) = host(registry, account(registry, credential)) else { return Vec::new() };
    let aliases = aliases.iter().filter(|(_, aliased)| *aliased == registry);
    aliases.map(|(alias, _)| alias.to_owned()).chain([host]).collect()
}

fn of_host(name: String, profile: ProfileName) -> Listing {
    Listing { is_pattern: false, name, profile }
}
