//! Checks of settings against each other.

use std::collections::BTreeSet;
use std::time::Duration;

use super::model::Config;
use super::reader::Reader;
use super::settings::{Aws, Cache, Limits, Policy};
use crate::cache::{SharedKeys, TokenScope};
use crate::credential::{CredentialKey, Revision};
use crate::registry::Registry;

mod caller_limits;
mod listeners;
mod parents;

/// Calls to AWS for registries that are kept warm. ECR accepts 500 a second in a region, and requests need some of them.
const MAX_REFRESHES_PER_SECOND: f64 = 10.0;

/// Reports settings that are valid alone and wrong together.
pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    listeners::check(config, reader);
    parents::check(config, reader);
    check_observe(config, reader);
    check_in_flight(config, reader);
    check_watch_memory(config, reader);
    caller_limits::check(config, reader);
    check_keep_warm(config, reader);
    check_validity(config, reader);
    check_timeouts(config, reader);
}

/// Observing records every denial that it allows.
fn check_observe(config: &Config, reader: &mut Reader<'_>) {
    if config.policy.is_observed() && config.audit.is_none() {
        reader.report(&Policy::mode(), "\"observe\" needs an audit log; set audit.output");
    }
}

fn check_in_flight(config: &Config, reader: &mut Reader<'_>) {
    if config.limits.in_flight >= config.cache.max_waiters {
        let problem = "is not below cache.max_waiters, so one caller could block all others; lower it";
        reader.report(&Limits::in_flight(), problem);
    }
}

fn check_watch_memory(config: &Config, reader: &mut Reader<'_>) {
    if config.limits.watch_memory_per_caller > config.limits.watch_memory {
        let problem = "exceeds limits.watch_memory, which all callers share; lower it or raise limits.watch_memory";
        reader.report(&Limits::watch_memory_per_caller(), problem);
    }
}

fn check_validity(config: &Config, reader: &mut Reader<'_>) {
    if config.cache.safety_margin > config.max_min_validity {
        let problem = "exceeds cache.max_min_validity, so no credential could be released; lower it";
        reader.report(&Cache::safety_margin(), problem);
    }
}

fn check_timeouts(config: &Config, reader: &mut Reader<'_>) {
    if config.aws.attempt_timeout > config.aws.operation_timeout {
        let problem = "exceeds aws.operation_timeout, which includes all attempts; lower it";
        reader.report(&Aws::attempt_timeout(), problem);
    }
}

/// Every profile that a grant allows for a registry is a credential to keep.
fn check_keep_warm(config: &Config, reader: &mut Reader<'_>) {
    let credentials_of = |registry: &Registry| config.policy.credentials_for(registry).len();
    let credentials: usize = config.keep_warm.iter().map(credentials_of).sum();
    if u64::try_from(credentials).unwrap_or(u64::MAX) > config.cache.capacity {
        let problem = "needs more credentials than cache.capacity; list fewer registries or raise cache.capacity";
        reader.report(&Cache::keep_warm(), problem);
    }
    let interval = |token: &CredentialKey| {
        let half = token.lifetime.map(|lifetime| lifetime.duration() / 2);
        half.unwrap_or(Duration::MAX).min(config.cache.refresh_after)
    };
    let refreshes_per_second: f64 =
        tokens_to_keep(config).iter().map(|token| 1.0 / interval(token).as_secs_f64()).sum();
    if refreshes_per_second > MAX_REFRESHES_PER_SECOND {
        let problem = "would exceed 10 AWS calls per second; list fewer registries or raise cache.refresh_after";
        reader.report(&Cache::keep_warm(), problem);
    }
}

/// Returns the keys of the tokens for the registries that are kept warm.
fn tokens_to_keep(config: &Config) -> BTreeSet<CredentialKey> {
    let shared_keys = SharedKeys::new(&config.aws.profiles);
    let token = |key: CredentialKey| match config.token_scope {
        TokenScope::Account => key,
        TokenScope::Identity => shared_keys.of(&key).unwrap_or(key),
    };
    let tokens = config.keep_warm.iter().flat_map(|registry| {
        let profiles = config.policy.credentials_for(registry).into_iter();
        profiles.map(|(profile, lifetime)| {
            token(CredentialKey {
                registry: registry.clone(),
                profile,
                revision: Revision::default(),
                caller: None,
                lifetime,
            })
        })
    });
    tokens.collect()
}

#[cfg(test)]
mod tests;
