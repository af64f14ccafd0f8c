//! Limit of failed authentications per origin, with backoff.
//!
//! Verifying a signature costs more CPU than the rest of a call. A flood of invalid tokens or handshakes must not starve valid calls.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tracing::warn;

use super::exceeded::{DEFAULT_DELAY, RetryAfter};
use super::hits::{LimitHits, LimitName};
use super::origin::Origin;
use super::recent;
use crate::clock::Clock;
use crate::log_throttle::LogThrottle;
use crate::rate::Rate;

/// Longest backoff of an origin that keeps failing.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// The kind of an attempt to authenticate. Each has its own budget: forged tokens must not shut out good certificates, which may
/// come from the same address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Attempt {
    /// A TLS handshake.
    Handshake,
    /// A bearer token, or a secret of the ECR API.
    Token,
    /// A bearer token that a child broker forwards.
    Forwarded,
    /// A call without any proof.
    Missing,
}

/// Failed authentications of all origins.
#[derive(Debug, Clone)]
pub(super) struct AuthFailures {
    per_second: NonZeroU32,
    clock: Arc<dyn Clock>,
    hits: LimitHits,
    origins: Cache<(Origin, Attempt), Arc<OriginFailures>>,
}

#[derive(Debug)]
struct OriginFailures {
    rate: Rate,
    log: LogThrottle,
}

impl AuthFailures {
    pub(super) fn new(per_second: NonZeroU32, clock: Arc<dyn Clock>, hits: LimitHits) -> Self {
        Self { per_second, clock, hits, origins: recent::cache(|_| 0) }
    }

    pub(super) fn check_origin(&self, origin: Origin, attempt: Attempt) -> Result<(), RetryAfter> {
        let Some(failures) = self.origins.get(&(origin, attempt)) else { return Ok(()) };
        let backoff = failures.rate.wait(self.now());
        if backoff.is_zero() {
            return Ok(());
        }
        self.hits.count(LimitName::FailedAuthentications);
        if failures.log.is_due(self.now()) {
            log_blocked(origin, attempt, backoff);
        }
        Err(RetryAfter::spread(backoff.max(DEFAULT_DELAY)))
    }

    pub(super) fn record_failure(&self, origin: Origin, attempt: Attempt) {
        let new = || Arc::new(OriginFailures { rate: Rate::new(self.per_second), log: LogThrottle::default() });
        self.origins.get_with((origin, attempt), new).rate.record(self.now(), MAX_BACKOFF);
    }

    fn now(&self) -> Duration {
        self.clock.now().steady
    }
}

fn log_blocked(origin: Origin, attempt: Attempt, backoff: Duration) {
    let backoff = format!("{backoff:.1?}");
    match origin {
        Origin::Network(_) | Origin::Uid(_) => {
            warn!(%origin, ?attempt, "for" = backoff, "origin blocked after failed authentications");
        }
        // The secret is compared before this limit, and is too long to guess. Above the limit only the error's detail is withheld.
        Origin::AwsApi => warn!(%origin, "for" = backoff, "ECR API failures throttled; valid calls are served"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_clock::Still;
    use super::*;
    use crate::metrics::Registry;

    fn failures() -> (AuthFailures, Arc<Still>) {
        let clock = Arc::new(Still::default());
        let hits = LimitHits::new(&mut Registry::default());
        (AuthFailures::new(NonZeroU32::new(10).unwrap(), clock.clone(), hits), clock)
    }

    #[test]
    fn origin_that_keeps_failing_backs_off_and_others_do_not() {
        let (failures, clock) = failures();
        let (a, b) = (Origin::of([192, 0, 2, 1].into()), Origin::of([192, 0, 2, 2].into()));
        for _ in 0..100 {
            failures.check_origin(a, Attempt::Token).unwrap();
            failures.record_failure(a, Attempt::Token);
        }
        let RetryAfter(wait) = failures.check_origin(a, Attempt::Token).unwrap_err();
        assert!((DEFAULT_DELAY..=2 * DEFAULT_DELAY).contains(&wait), "{wait:?}");
        failures.check_origin(b, Attempt::Token).unwrap();
        for other in [Attempt::Handshake, Attempt::Forwarded, Attempt::Missing] {
            failures.check_origin(a, other).unwrap();
        }
        clock.advance(wait);
        failures.check_origin(a, Attempt::Token).unwrap();
        assert!(failures.origins.get(&(b, Attempt::Token)).is_none(), "nothing is kept of an origin without failures");
    }

    #[test]
    fn remembered_origins_are_bounded() {
        let (failures, _) = failures();
        let most = recent::MAX_BYTES / recent::ENTRY_BYTES as u64;
        for number in 0..u32::try_from(most).unwrap() + 5_000 {
            failures.record_failure(Origin::Uid(number), Attempt::Token);
        }
        failures.origins.run_pending_tasks();
        assert!(failures.origins.entry_count() <= most);
    }
}
