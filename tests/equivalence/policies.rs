//! The policies that are reloaded.

use std::os::unix::fs::MetadataExt as _;

use ecr_broker::credential::Lifetime;
use ecr_broker::policy::{Accounts, CallerPattern, Effect, Grant, Policy, RegistryPattern, TokenPattern, ViaPattern};

use crate::call::{CI, MINE};
use crate::certificates::RUNNER;
use crate::proofs::{NODE, NODE_CLAIM};

/// The number of policies.
pub const POLICIES: usize = 7;

/// Returns a policy by its number.
pub fn policy(number: usize) -> Policy {
    let allow =
        |id| grant(id, everyone(), vec![RegistryPattern::every_private(), RegistryPattern::Public], Effect::Allow);
    let refused = || vec![CallerPattern::Loopback, workload(RUNNER)];
    let deny_first = || grant("not-first", refused(), vec![account(0)], Effect::Deny);
    match number {
        0 => Policy::Open,
        1 => Policy::Grants(vec![allow("all")]),
        // The same decisions, by a grant of another name.
        2 => Policy::Grants(vec![allow("everything")]),
        3 => Policy::Grants(vec![deny_first(), allow("all")]),
        4 => Policy::Observed(vec![deny_first(), grant("one", vec![user()], vec![account(1)], Effect::Allow)]),
        5 => {
            let of = |id, profile: &str| Grant { profile: Some(profile.into()), ..allow(id) };
            Policy::Grants(vec![of("ci", CI), of("mine", MINE)])
        }
        // Short-lived credentials for one account.
        _ => {
            let short = grant("short", everyone(), vec![account(0)], Effect::Allow);
            Policy::Grants(vec![Grant { max_lifetime: Lifetime::from_minutes(15), ..short }, allow("all")])
        }
    }
}

fn grant(id: &str, callers: Vec<CallerPattern>, registries: Vec<RegistryPattern>, effect: Effect) -> Grant {
    Grant { id: id.into(), callers, registries, profile: None, effect, max_lifetime: None }
}

fn account(number: u64) -> RegistryPattern {
    let accounts = Accounts::Of(vec![format!("{number:012}").parse().unwrap()]);
    RegistryPattern::Private { accounts, regions: vec!["eu-*".parse().unwrap()] }
}

fn user() -> CallerPattern {
    CallerPattern::Uid(std::fs::metadata("/proc/self").unwrap().uid())
}

/// All callers but those that a token or a child broker names wrongly.
fn everyone() -> Vec<CallerPattern> {
    let subject = Some("system:serviceaccount:ci:*".parse().unwrap());
    let jobs = CallerPattern::Token(TokenPattern { issuer: "blue".into(), subject, claims: Vec::new() });
    let via = |claim: Option<&str>| ViaPattern {
        brokers: vec!["spiffe://a.example/node/*".parse().unwrap()],
        claim: claim.map(ToOwned::to_owned),
    };
    vec![
        user(),
        CallerPattern::Loopback,
        workload(RUNNER),
        workload(NODE),
        jobs.clone(),
        CallerPattern::Forwarded(Box::new(jobs), via(Some(NODE_CLAIM))),
        CallerPattern::Forwarded(Box::new(CallerPattern::Uid(1001)), via(None)),
    ]
}

fn workload(id: &str) -> CallerPattern {
    CallerPattern::Spiffe(id.parse().unwrap())
}
