//! The policies that are reloaded.

use std::os::unix::fs::MetadataExt as _;

use ecr_broker::policy::{Accounts, CallerPattern, Effect, Grant, Policy, RegistryPattern};

use crate::call::{CI, MINE};

/// The number of policies.
pub const POLICIES: usize = 6;

/// Returns a policy by its number.
pub fn policy(number: usize) -> Policy {
    let allow = |id| grant(id, both(), vec![RegistryPattern::every_private(), RegistryPattern::Public], Effect::Allow);
    let deny_first = || grant("not-first", vec![CallerPattern::Loopback], vec![account(0)], Effect::Deny);
    match number {
        0 => Policy::Open,
        1 => Policy::Grants(vec![allow("all")]),
        // The same decisions, by a grant of another name.
        2 => Policy::Grants(vec![allow("everything")]),
        3 => Policy::Grants(vec![deny_first(), allow("all")]),
        4 => Policy::Observed(vec![deny_first(), grant("one", vec![user()], vec![account(1)], Effect::Allow)]),
        _ => {
            let of = |id, profile: &str| Grant { profile: Some(profile.into()), ..allow(id) };
            Policy::Grants(vec![of("ci", CI), of("mine", MINE)])
        }
    }
}

fn grant(id: &str, callers: Vec<CallerPattern>, registries: Vec<RegistryPattern>, effect: Effect) -> Grant {
    Grant { id: id.into(), callers, registries, profile: None, effect }
}

fn account(number: u64) -> RegistryPattern {
    let accounts = Accounts::Of(vec![format!("{number:012}").parse().unwrap()]);
    RegistryPattern::Private { accounts, regions: vec!["eu-*".parse().unwrap()] }
}

fn user() -> CallerPattern {
    CallerPattern::Uid(std::fs::metadata("/proc/self").unwrap().uid())
}

fn both() -> Vec<CallerPattern> {
    vec![user(), CallerPattern::Loopback]
}
