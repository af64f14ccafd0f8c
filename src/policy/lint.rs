//! Lint: likely mistakes in well-formed grants.

use std::fmt;

use spiffe::TrustDomain;

use self::shared_issuer::{Customers, GITHUB, SharedIssuer};
use super::grant::{Effect, Grant, Policy};
use super::pattern::{Accounts, BrokerPattern, CallerPattern, RegistryPattern, TokenPattern, ViaPattern};
use crate::caller::DnsName;
use crate::profile::{Access, Profile};
use crate::registry::Partition;

mod shared_issuer;

/// A likely mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The grant's ID; `None` for a finding about the whole policy.
    pub grant: Option<String>,
    /// The problem and its fix.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.grant {
            Some(grant) => write!(f, "grant {grant:?}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

/// The kinds of authentication that the broker accepts, beside the peer credentials of a Unix socket.
#[derive(Debug, Clone, Default)]
pub struct AcceptedIdentities {
    /// Whether callers may connect over loopback TCP.
    pub loopback: bool,
    /// Whether the AWS API is served.
    pub aws_api: bool,
    /// The trust domains with configured roots.
    pub trust_domains: Vec<TrustDomain>,
    /// The DNS names with configured roots.
    pub dns_names: Vec<DnsName>,
    /// The issuers of bearer tokens: the name in the configuration, and the issuer's URL.
    pub issuers: Vec<(String, String)>,
}

/// Finds likely mistakes in a policy. `profiles` are the profiles that its grants name.
#[must_use]
pub fn lint(policy: &Policy, profiles: &[Profile], accepted: &AcceptedIdentities) -> Vec<Finding> {
    let grants = policy.grants();
    let of_grant = |(index, grant): (usize, &Grant)| {
        let problems = [
            strangers(grant, accepted, Customers::Any),
            every_account(grant),
            push_everywhere(grant, profiles),
            user_zero(grant),
            unreachable(grant, accepted),
            any_node(grant),
            strangers(grant, accepted, Customers::Named),
            pull_requests(grant, accepted),
            misspelt_region(grant),
            several_partitions(grant),
            evaded_deny(grant, grants),
            evaded_limit(grant, grants),
            without_effect(grant, index, grants),
        ];
        let finding = |problem| Finding { grant: Some(grant.id.clone()), problem };
        problems.into_iter().flatten().map(finding).collect::<Vec<_>>()
    };
    let of_policy = observe_mode(policy).into_iter().chain(only_operators(grants));
    of_policy.chain(grants.iter().enumerate().flat_map(of_grant)).collect()
}

fn observe_mode(policy: &Policy) -> Option<Finding> {
    let problem = "policy.mode is \"observe\": requests that the grants deny are served; set it to \"enforce\" once the grants are complete";
    policy.is_observed().then(|| Finding { grant: None, problem: problem.to_owned() })
}

/// A first grant ends the open policy, also if it is one of operators.
fn only_operators(grants: &[Grant]) -> Option<Finding> {
    let problem =
        "all grants have operator = true, so every request for credentials is denied; add grants with registries";
    let only = !grants.is_empty() && grants.iter().all(|grant| grant.effect == Effect::Operate);
    only.then(|| Finding { grant: None, problem: problem.to_owned() })
}

fn every_account(grant: &Grant) -> Option<String> {
    let wide = |one: &RegistryPattern| matches!(one, RegistryPattern::Private { accounts: Accounts::Any, .. });
    (grant.effect == Effect::Allow && grant.registries.iter().any(wide))
        .then(|| "it allows every account that the broker's identity can reach; list the accounts".to_owned())
}

fn push_everywhere(grant: &Grant, profiles: &[Profile]) -> Option<String> {
    let profile = profiles.iter().find(|profile| grant.profile.as_ref() == Some(&profile.name))?;
    let wide = grant.effect == Effect::Allow && profile.access != Access::Pull && profile.repositories.is_empty();
    wide.then(|| {
        format!(
            "its profile {:?} can write to every repository of its role; set the profile's repositories, or access = \"pull\"",
            profile.name.as_str()
        )
    })
}

fn user_zero(grant: &Grant) -> Option<String> {
    let root = |caller: &CallerPattern| matches!(caller.job(), CallerPattern::Uid(0) | CallerPattern::Gid(0));
    (grant.effect == Effect::Allow && grant.callers.iter().any(root)).then(|| {
        "it allows root, and so every container that runs as root and mounts the socket; run callers as their own user"
            .to_owned()
    })
}

fn unreachable(grant: &Grant, accepted: &AcceptedIdentities) -> Option<String> {
    grant.callers.iter().find_map(|caller| unreachable_caller(caller, accepted))
}

/// Finds a caller that no accepted kind of authentication can produce.
#[must_use]
pub fn unreachable_caller(caller: &CallerPattern, accepted: &AcceptedIdentities) -> Option<String> {
    match caller {
        CallerPattern::Loopback if !accepted.loopback => Some(
            "it names loopback callers, but loopback is off; set authentication.loopback = true, or remove the caller"
                .to_owned(),
        ),
        CallerPattern::AwsApi if !accepted.aws_api => Some(
            "it names AWS API callers, but the AWS API is off; set server.aws_api_listen, or remove the caller"
                .to_owned(),
        ),
        CallerPattern::Spiffe(pattern) if !accepted.trust_domains.contains(pattern.trust_domain()) => Some(format!(
            "it names {pattern}, but authentication.client_ca has no roots for that trust domain; add them, or remove the caller"
        )),
        CallerPattern::Dns(name) if !accepted.dns_names.contains(name) => Some(format!(
            "it names the host {name}, but authentication.client_dns has no roots for that name; add them, or remove the caller"
        )),
        CallerPattern::Token(pattern) if !accepted.issuers.iter().any(|(name, _)| *name == pattern.issuer) => {
            Some(format!(
                "it names the issuer {:?}, but no [[authentication.jwt]] has that name; add it, or correct the name",
                pattern.issuer
            ))
        }
        CallerPattern::Forwarded(job, via) => unreachable_forwarded(job, via, accepted),
        _ => None,
    }
}

/// The last broker connects. The brokers before it, and callers without a token, need no roots here.
fn unreachable_forwarded(job: &CallerPattern, via: &ViaPattern, accepted: &AcceptedIdentities) -> Option<String> {
    let peer = match via.brokers.last()? {
        BrokerPattern::Spiffe(pattern) => CallerPattern::Spiffe(pattern.clone()),
        BrokerPattern::Dns(name) => CallerPattern::Dns(name.clone()),
    };
    let of_job = || job.token().and_then(|_| unreachable_caller(job, accepted));
    unreachable_caller(&peer, accepted).or_else(of_job)
}

/// A stolen node could forward tokens of pods on other nodes.
fn any_node(grant: &Grant) -> Option<String> {
    const NODE: &str = "kubernetes.io.node.name";
    let of_kubernetes = |token: &TokenPattern| {
        let subject = token.subject.as_ref().map(ToString::to_string).unwrap_or_default();
        subject.starts_with("system:serviceaccount:")
            || token.claims.iter().any(|(name, _)| name.starts_with("kubernetes.io."))
    };
    let names_node = |token: &TokenPattern| token.claims.iter().any(|(name, _)| name == NODE);
    let is_open = |caller: &CallerPattern| match (caller, caller.token()) {
        (CallerPattern::Forwarded(_, via), Some(token)) => {
            let one_of_many = via.brokers.first().is_some_and(BrokerPattern::has_one_star);
            one_of_many && via.claim.is_none() && of_kubernetes(token) && !names_node(token)
        }
        _ => false,
    };
    (grant.effect != Effect::Deny && grant.callers.iter().any(is_open))
        .then(|| format!("it takes a pod's token from every node that via names; add via_claim = {NODE:?}"))
}

fn is_github(name: &str, accepted: &AcceptedIdentities) -> bool {
    accepted.issuers.iter().any(|(own, issuer)| own == name && issuer.starts_with(GITHUB))
}

/// A workflow that a stranger's pull request starts may run with the repository's own branch as its `ref`.
fn pull_requests(grant: &Grant, accepted: &AcceptedIdentities) -> Option<String> {
    let tells_event = |name: &str| matches!(name, "event_name" | "environment" | "job_workflow_ref");
    let any_event = |caller: &CallerPattern| match caller.token() {
        Some(pattern) if is_github(&pattern.issuer, accepted) => {
            pattern.subject.is_none() && !pattern.claims.iter().any(|(name, _)| tells_event(name))
        }
        _ => false,
    };
    (grant.effect != Effect::Deny && grant.callers.iter().any(any_event)).then(|| {
        "it allows a stranger's pull_request_target runs; require event_name, environment or job_workflow_ref"
            .to_owned()
    })
}

/// A shared issuer signs tokens for every customer, and a customer's name can become that of another.
fn strangers(grant: &Grant, accepted: &AcceptedIdentities, customers: Customers) -> Option<String> {
    let problem = |caller: &CallerPattern| {
        let pattern = caller.token()?;
        let (_, url) = accepted.issuers.iter().find(|(name, _)| *name == pattern.issuer)?;
        let issuer = SharedIssuer::of(url)?;
        (issuer.customers(url, pattern) == customers).then(|| issuer.problem(customers))?
    };
    grant.callers.iter().filter(|_| grant.effect != Effect::Deny).find_map(problem)
}

/// AWS names regions after points of the compass. A misspelt region in a deny lets through what the deny must stop.
fn misspelt_region(grant: &Grant) -> Option<String> {
    const PLACES: [&str; 9] =
        ["central", "east", "north", "northeast", "northwest", "south", "southeast", "southwest", "west"];
    let known = |region: &String| {
        let mut words = region.split('-').rev();
        let place = words.find(|word| !word.bytes().all(|byte| byte.is_ascii_digit())).unwrap_or_default();
        region.ends_with('*') || PLACES.contains(&place)
    };
    let strange = regions(grant).find(|region| !known(region))?;
    Some(format!("region {strange:?} does not look like an AWS region; check its spelling"))
}

/// A geography such as `us-*` has regions of isolated partitions too. `*` alone says so, and a deny may be as wide as it likes.
fn several_partitions(grant: &Grant) -> Option<String> {
    let partitions = |region: &str| Partition::all_owning(region).map(Partition::name).collect::<Vec<_>>();
    let is_wide = |region: &String| region != "*" && partitions(region).len() > 1;
    let wide = regions(grant).find(|region| grant.effect == Effect::Allow && is_wide(region))?;
    let spanned = partitions(&wide).join(", ");
    Some(format!(
        "region {wide:?} spans the partitions {spanned}; list the regions, or longer prefixes such as \"us-east-*\""
    ))
}

fn regions(grant: &Grant) -> impl Iterator<Item = String> {
    let patterns = grant.registries.iter().flat_map(|one| match one {
        RegistryPattern::Private { regions, .. } => regions.as_slice(),
        RegistryPattern::Public => &[],
    });
    patterns.map(ToString::to_string)
}

/// A caller that a deny names can come in by another authentication. Loopback and the AWS API do not tell the user, and a token
/// replaces the user.
fn evaded_deny(grant: &Grant, grants: &[Grant]) -> Option<String> {
    if grant.effect != Effect::Deny {
        return None;
    }
    let mut allows = grants.iter().filter(|other| other.effect == Effect::Allow && overlap(grant, other));
    let (id, detour) = allows.find_map(|other| Some((&other.id, detour(grant, other)?)))?;
    Some(format!("the denied callers can still be allowed {detour} by grant {id:?}; narrow that grant"))
}

fn overlap(one: &Grant, other: &Grant) -> bool {
    one.registries.iter().any(|one| other.registries.iter().any(|two| one.intersects(two)))
}

/// Returns how a caller that `deny` names can come in as one that `allow` names.
fn detour(deny: &Grant, allow: &Grant) -> Option<&'static str> {
    let has = |grant: &Grant, kind: fn(&CallerPattern) -> bool| grant.callers.iter().any(kind);
    let is_user: fn(&CallerPattern) -> bool = |one| matches!(one, CallerPattern::Uid(_) | CallerPattern::Gid(_));
    let is_loopback: fn(&CallerPattern) -> bool = |one| matches!(one, CallerPattern::Loopback);
    let is_aws_api: fn(&CallerPattern) -> bool = |one| matches!(one, CallerPattern::AwsApi);
    let is_token: fn(&CallerPattern) -> bool = |one| matches!(one, CallerPattern::Token(_));
    if has(allow, is_loopback)
        && has(deny, |one| !matches!(one, CallerPattern::Loopback | CallerPattern::Forwarded(..)))
    {
        return Some("over loopback");
    }
    if has(allow, is_aws_api) && has(deny, |one| !matches!(one, CallerPattern::AwsApi | CallerPattern::Forwarded(..))) {
        return Some("over the AWS API");
    }
    let with = has(allow, is_token) && (has(deny, is_user) || has(deny, is_loopback));
    let without = has(deny, is_token) && has(allow, is_user);
    with.then_some("with a token").or_else(|| without.then_some("without a token"))
}

/// A token opens every account that its identity may use, so that one of another grant has the rights of the limited one for longer.
fn evaded_limit(grant: &Grant, grants: &[Grant]) -> Option<String> {
    let limit = grant.max_lifetime?;
    let lasts_longer = |other: &&Grant| other.max_lifetime.is_none_or(|of_other| of_other > limit);
    let is_same = |other: &&Grant| other.effect == Effect::Allow && other.profile == grant.profile;
    let touch = |one: &CallerPattern, two: &CallerPattern| one.contains(two) || two.contains(one);
    let shares = |other: &&Grant| grant.callers.iter().any(|one| other.callers.iter().any(|two| touch(one, two)));
    let other = grants.iter().filter(is_same).filter(lasts_longer).find(shares)?;
    Some(format!(
        "its callers also get tokens of the same profile for longer, by grant {:?}; name another profile in one of them",
        other.id
    ))
}

/// Another grant makes this one redundant, or denies all that it allows.
fn without_effect(grant: &Grant, index: usize, grants: &[Grant]) -> Option<String> {
    let same_profile = |other: &Grant| other.profile.is_none() || other.profile == grant.profile;
    if let Some(earlier) = grants[..index]
        .iter()
        .find(|other| other.effect == grant.effect && same_profile(other) && contains(other, grant))
    {
        return Some(format!("the earlier grant {:?} covers all of it; remove one of the two", earlier.id));
    }
    let denial = grants.iter().find(|other| {
        grant.effect == Effect::Allow && other.effect == Effect::Deny && same_profile(other) && contains(other, grant)
    });
    denial.map(|denial| format!("grant {:?} denies all of it; remove one of the two", denial.id))
}

fn contains(outer: &Grant, inner: &Grant) -> bool {
    inner.callers.iter().all(|caller| outer.callers.iter().any(|other| other.contains(caller)))
        && inner.registries.iter().all(|one| outer.registries.iter().any(|other| other.contains(one)))
}

#[cfg(test)]
mod tests;
