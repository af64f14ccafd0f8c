//! Checks of settings against each other.

use super::model::Config;
use super::reader::Reader;
use super::settings::{Aws, Cache, Limits, Policy};
use crate::registry::Registry;

mod listeners;

/// Calls to AWS for what is kept warm. ECR takes 500 a second in a region, and others need some.
const MOST_REFRESHES_PER_SECOND: f64 = 10.0;

/// Reports settings that are valid alone and wrong together.
pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    listeners::check(config, reader);
    check_observe(config, reader);
    check_in_flight(config, reader);
    check_keep_warm(config, reader);
    check_validity(config, reader);
    check_timeouts(config, reader);
}

fn check_observe(config: &Config, reader: &mut Reader<'_>) {
    if config.policy.is_observed() && config.audit.is_none() {
        reader
            .report(&Policy::mode(), "what is observed is put on record, and there is no audit log; set audit.output");
    }
}

fn check_in_flight(config: &Config, reader: &mut Reader<'_>) {
    if config.limits.in_flight >= config.cache.max_waiters {
        reader.report(
            &Limits::in_flight(),
            "it is not less than cache.max_waiters, so that one caller could turn away all others",
        );
    }
}

fn check_validity(config: &Config, reader: &mut Reader<'_>) {
    if config.cache.safety_margin > config.max_min_validity {
        reader.report(
            &Cache::safety_margin(),
            "it is more than cache.max_min_validity; no credential could be handed out",
        );
    }
}

fn check_timeouts(config: &Config, reader: &mut Reader<'_>) {
    if config.aws.attempt_timeout > config.aws.operation_timeout {
        reader.report(&Aws::attempt_timeout(), "it is more than aws.operation_timeout, which holds all attempts");
    }
}

/// What is kept warm must fit, and AWS be asked for it no more often than it may be for a list.
fn check_keep_warm(config: &Config, reader: &mut Reader<'_>) {
    let of_one = |registry: &Registry| config.policy.profiles_for(registry).len();
    let count: usize = config.keep_warm.iter().map(of_one).sum();
    if u64::try_from(count).unwrap_or(u64::MAX) > config.cache.capacity {
        reader.report(
            &Cache::keep_warm(),
            "its registries, by each profile that is granted for them, are more than cache.capacity holds",
        );
    }
    let interval = config.cache.refresh_after.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "nobody lists so many")]
    if count as f64 / interval > MOST_REFRESHES_PER_SECOND {
        reader.report(
            &Cache::keep_warm(),
            "so many registries, by each profile that is granted for them, refreshed after cache.refresh_after, are more than ten calls to AWS a second; list fewer, or refresh them less often",
        );
    }
}
