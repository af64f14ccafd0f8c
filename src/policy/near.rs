//! The grant that comes nearest to a denied request, and what differs. For people who write grants: it decides nothing.

use std::fmt::Display;

use toml::Value;

use super::grant::{Effect, Grant, Policy};
use super::grant_toml;
use super::pattern::{Accounts, CallerPattern, LabelPattern, RegistryPattern, TokenPattern, ViaPattern};
use crate::caller::{Caller, TokenCaller, Via};
use crate::registry::{PrivateRegistry, Registry};

/// Accounts or regions that a text lists.
const MAX_LISTED: usize = 3;

/// A grant that allows another request.
#[derive(Debug, PartialEq, Eq)]
pub struct NearMiss<'a> {
    /// The grant.
    pub grant: &'a Grant,
    /// What differs from the request, a phrase each.
    pub differences: Vec<String>,
}

/// A difference, and its distance from a match.
#[derive(Debug)]
struct Difference {
    distance: u32,
    text: String,
}

/// Distances: a part of the caller or the request, another caller or registry, and one of another kind.
const PART: u32 = 1;
const OTHER: u32 = 3;
const OTHER_KIND: u32 = 6;

impl Policy {
    /// Returns the grant that differs least from a request that no grant allows, the first of several; `None` without allows.
    #[must_use]
    pub fn nearest(&self, caller: &Caller, registry: &Registry, profile: &str) -> Option<NearMiss<'_>> {
        let allows = self.grants().iter().filter(|grant| grant.effect == Effect::Allow);
        let all = allows.map(|grant| (grant, differences(grant, caller, registry, profile)));
        let (grant, differences) = all.min_by_key(|(_, differences)| distance(differences))?;
        Some(NearMiss { grant, differences: differences.into_iter().map(|one| one.text).collect() })
    }
}

fn distance(differences: &[Difference]) -> u32 {
    differences.iter().map(|difference| difference.distance).sum()
}

fn differences(grant: &Grant, caller: &Caller, registry: &Registry, profile: &str) -> Vec<Difference> {
    let nearest = |all: Vec<Vec<Difference>>| all.into_iter().min_by_key(|one| distance(one)).unwrap_or_default();
    let mut all = nearest(grant.callers.iter().map(|pattern| of_caller(pattern, caller)).collect());
    all.extend(nearest(grant.registries.iter().map(|pattern| of_registry(pattern, registry)).collect()));
    let own = grant.profile.as_ref().map(ToString::to_string).unwrap_or_default();
    if !profile.is_empty() && own != profile {
        all.push(Difference {
            distance: PART,
            text: format!("profile {profile:?} is requested, the grant has {own:?}"),
        });
    }
    all
}

fn of_caller(pattern: &CallerPattern, caller: &Caller) -> Vec<Difference> {
    use CallerPattern as Pattern;
    if pattern.matches(caller) {
        return Vec::new();
    }
    if let (Pattern::Forwarded(..), _) | (_, Caller::Forwarded(_)) = (pattern, caller) {
        return of_forwarded(pattern, caller);
    }
    let distance = match (pattern, caller) {
        (Pattern::Token(pattern), Caller::Token(token)) if pattern.issuer == token.issuer => {
            return of_token(pattern, token);
        }
        (Pattern::Uid(_) | Pattern::Gid(_), Caller::Process { .. })
        | (Pattern::Spiffe(_), Caller::Spiffe(_))
        | (Pattern::Dns(_), Caller::Dns(_))
        | (Pattern::Token(_), Caller::Token(_)) => OTHER,
        _ => OTHER_KIND,
    };
    let wanted = Value::Table(grant_toml::caller(pattern));
    vec![Difference { distance, text: format!("the caller is {caller}, not {wanted}") }]
}

/// Returns what differs in a caller and in the brokers that forward it, if one of the two sides has any.
fn of_forwarded(pattern: &CallerPattern, caller: &Caller) -> Vec<Difference> {
    let pattern_via = if let CallerPattern::Forwarded(_, via) = pattern { Some(via) } else { None };
    let via = match (pattern_via, caller.via()) {
        (Some(wanted), Some(via)) => of_via(wanted, via, caller.job()),
        (Some(wanted), None) => Some(format!("the caller is not forwarded; the grant has via {wanted}")),
        (None, Some(via)) => Some(format!("{via} forwards the caller; the grant has no via")),
        (None, None) => None,
    };
    let via = via.map(|text| Difference { distance: PART, text });
    of_caller(pattern.job(), caller.job()).into_iter().chain(via).collect()
}

fn of_via(wanted: &ViaPattern, via: &Via, job: &Caller) -> Option<String> {
    let name = match &wanted.claim {
        _ if wanted.matches(via, job) => return None,
        Some(name) if (ViaPattern { claim: None, ..wanted.clone() }).matches(via, job) => name,
        _ => return Some(format!("{via} forwards the caller, not {wanted}")),
    };
    let claim = if let Caller::Token(token) = job { token.claims.get(name) } else { None };
    let text = claim.map_or_else(|| "absent".to_owned(), |text| format!("{text:?}"));
    Some(format!("the claim {name} is {text}, which is not the broker {via}"))
}

/// Returns what differs in a token of the right issuer.
fn of_token(pattern: &TokenPattern, token: &TokenCaller) -> Vec<Difference> {
    let part = |text| Difference { distance: PART, text };
    let subject = pattern.subject.as_ref().filter(|wanted| !wanted.matches(&token.subject));
    let subject = subject.map(|wanted| part(format!("the subject is {:?}, not \"{wanted}\"", token.subject)));
    let claims = pattern.claims.iter().filter_map(|(name, wanted)| match token.claims.get(name) {
        Some(text) if wanted.matches(text) => None,
        Some(text) => Some(part(format!("the claim {name} is {text:?}, not \"{wanted}\""))),
        None => Some(part(format!("the token has no claim {name}, which must be \"{wanted}\""))),
    });
    subject.into_iter().chain(claims).collect()
}

fn of_registry(pattern: &RegistryPattern, registry: &Registry) -> Vec<Difference> {
    match (pattern, registry) {
        (RegistryPattern::Private { accounts, regions }, Registry::Private(private)) => {
            of_account(accounts, private).into_iter().chain(of_region(regions, private)).collect()
        }
        (RegistryPattern::Public, Registry::Public { .. }) => Vec::new(),
        (RegistryPattern::Public, Registry::Private(_)) => {
            other_kind("the registry is private, the grant has ECR Public")
        }
        (RegistryPattern::Private { .. }, Registry::Public { .. }) => {
            other_kind("the registry is ECR Public, the grant has private registries")
        }
    }
}

fn other_kind(text: &str) -> Vec<Difference> {
    vec![Difference { distance: OTHER_KIND, text: text.to_owned() }]
}

fn of_account(accounts: &Accounts, registry: &PrivateRegistry) -> Option<Difference> {
    let Accounts::Of(accounts) = accounts else { return None };
    let text = match registry.account() {
        Some(account) if accounts.contains(&account) => return None,
        Some(account) => format!("the account is {account}, not {}", listed(accounts)),
        None => format!("the request names no account, the grant has {}", listed(accounts)),
    };
    Some(Difference { distance: OTHER, text })
}

fn of_region(regions: &[LabelPattern], registry: &PrivateRegistry) -> Option<Difference> {
    let region = registry.region().as_str();
    let is_covered = regions.iter().any(|pattern| pattern.matches(region));
    let text = || format!("the region is {region}, not {}", listed(regions));
    (!is_covered).then(|| Difference { distance: OTHER, text: text() })
}

/// Lists the first few of several.
fn listed<T: Display>(all: &[T]) -> String {
    let mut texts: Vec<_> = all.iter().take(MAX_LISTED).map(ToString::to_string).collect();
    if all.len() > MAX_LISTED {
        texts.push(format!("{} more", all.len() - MAX_LISTED));
    }
    texts.join(" or ")
}
