//! Concurrency limit of a region: additive increase, multiplicative decrease (AIMD), after a slow start, as in TCP.
//!
//! The limit starts where any AWS quota admits it. Each admitted call raises it by one, so it doubles each round trip. From the
//! first throttled call on it grows by one each round trip: a limit's worth of admitted calls. Throttling halves it.

use std::time::Duration;

use tokio::time::Instant;

use super::outcome::Outcome;

/// Limit before the first call, and after a call without an answer. So many calls a region always has, whatever the others do.
const INITIAL_LIMIT: usize = 8;

/// How many calls may be in flight at once, and how many of them may use an assumed role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) all: usize,
    pub(super) as_role: usize,
}

/// How many calls may be in flight, as their outcomes allow.
#[derive(Debug)]
pub(super) struct ConcurrencyLimit {
    limit: usize,
    max: usize,
    /// Whether each admitted call raises the limit.
    is_slow_start: bool,
    /// Calls admitted since the limit last grew, after the slow start.
    admitted: usize,
    /// Time at which the limit was last halved. The outcome of an earlier call says nothing about the new limit.
    halved_at: Option<Instant>,
}

impl ConcurrencyLimit {
    /// Starts at 8, or at `max` if it is lower.
    pub(super) fn new(max: usize) -> Self {
        Self { limit: INITIAL_LIMIT.min(max), max, is_slow_start: true, admitted: 0, halved_at: None }
    }

    /// Returns the limit of the first calls, which do not count in the limits over all regions.
    ///
    /// Roles have three quarters: while STS hangs, a quarter stays free for the broker's own identity.
    pub(super) fn first(&self) -> Size {
        let all = self.limit.min(INITIAL_LIMIT);
        Size { all, as_role: as_role(all) }
    }

    /// Returns the limit of the calls beyond the first ones.
    pub(super) fn beyond(&self) -> Size {
        let first = self.first();
        Size { all: self.limit - first.all, as_role: as_role(self.limit) - first.as_role }
    }

    /// Adjusts the limit to the outcome of a call that started at `started`.
    pub(super) fn record(&mut self, started: Instant, outcome: Outcome) {
        if self.halved_at.is_some_and(|halved_at| started <= halved_at) {
            return;
        }
        match outcome {
            Outcome::Admitted => self.grow(),
            Outcome::Throttled => self.halve(),
            // A region that hangs must not keep `aws.max_in_flight` from the others, which could then not grow.
            Outcome::Unanswered => self.limit = self.limit.min(INITIAL_LIMIT),
            Outcome::Unknown => {}
        }
    }

    /// Estimates the time until `calls` calls have started, if each takes `latency` and AWS admits all of them.
    pub(super) fn wait(&self, calls: usize, is_role: bool, latency: Duration) -> Duration {
        let parallel = |limit| if is_role { as_role(limit) } else { limit };
        let (mut limit, mut rest, mut round_trips) = (self.limit, calls, 0);
        while limit < self.max && rest > parallel(limit) {
            rest -= parallel(limit);
            limit = (limit + if self.is_slow_start { parallel(limit) } else { 1 }).min(self.max);
            round_trips += 1;
        }
        latency.saturating_mul(round_trips) + shared(latency, rest, parallel(limit))
    }

    /// Estimates the time until `calls` calls have started if only the first calls make progress.
    pub(super) fn wait_for_first(&self, calls: usize, is_role: bool, latency: Duration) -> Duration {
        let first = self.first();
        shared(latency, calls, if is_role { first.as_role } else { first.all })
    }

    fn grow(&mut self) {
        self.admitted += 1;
        if self.is_slow_start || self.admitted >= self.limit {
            self.admitted = 0;
            self.limit = (self.limit + 1).min(self.max);
        }
    }

    fn halve(&mut self) {
        self.limit = (self.limit / 2).max(1);
        (self.is_slow_start, self.admitted, self.halved_at) = (false, 0, Some(Instant::now()));
    }
}

/// Returns how many of `limit` calls may use an assumed role.
pub(super) fn as_role(limit: usize) -> usize {
    (limit * 3 / 4).max(1)
}

/// Returns the time that `calls` calls of `latency` take if `parallel` of them are in flight.
pub(super) fn shared(latency: Duration, calls: usize, parallel: usize) -> Duration {
    latency.saturating_mul(to_u32(calls)) / to_u32(parallel)
}

pub(super) fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// Records calls that each start after the one before has ended, and returns the limit.
    async fn record(limit: &mut ConcurrencyLimit, outcome: Outcome, calls: usize) -> usize {
        for _ in 0..calls {
            advance(Duration::from_millis(1)).await;
            limit.record(Instant::now(), outcome);
        }
        limit.limit
    }

    #[tokio::test(start_paused = true)]
    async fn limit_grows_with_each_admitted_call_from_8_to_its_maximum() {
        let mut limit = ConcurrencyLimit::new(64);
        let mut limits = Vec::new();
        for calls in [0, 1, 7, 16, 32, 1_000] {
            limits.push(record(&mut limit, Outcome::Admitted, calls).await);
        }
        assert_eq!(limits, [8, 9, 16, 32, 64, 64]);
    }

    #[tokio::test(start_paused = true)]
    async fn limit_grows_once_a_round_trip_after_throttling() {
        let mut limit = ConcurrencyLimit::new(64);
        assert_eq!(record(&mut limit, Outcome::Throttled, 1).await, 4);
        let mut limits = Vec::new();
        for calls in [3, 1, 4, 1, 6] {
            limits.push(record(&mut limit, Outcome::Admitted, calls).await);
        }
        assert_eq!(limits, [4, 5, 5, 6, 7]);
    }

    #[tokio::test(start_paused = true)]
    async fn limit_is_halved_once_a_round_trip_and_never_below_1() {
        let mut limit = ConcurrencyLimit::new(64);
        record(&mut limit, Outcome::Admitted, 56).await;
        let started = Instant::now();
        advance(Duration::from_millis(100)).await;
        // The calls of one round trip are throttled together.
        for _ in 0..64 {
            limit.record(started, Outcome::Throttled);
        }
        assert_eq!(limit.limit, 32);
        limit.record(started, Outcome::Admitted);
        assert_eq!((limit.limit, limit.admitted), (32, 0), "a call from before says nothing about the new limit");
        let mut limits = Vec::new();
        for _ in 0..7 {
            limits.push(record(&mut limit, Outcome::Throttled, 1).await);
        }
        assert_eq!(limits, [16, 8, 4, 2, 1, 1, 1]);
        assert_eq!(record(&mut limit, Outcome::Admitted, 1).await, 2, "the limit recovers from 1");
    }

    #[tokio::test(start_paused = true)]
    async fn limit_returns_to_8_after_a_call_without_an_answer() {
        let mut limit = ConcurrencyLimit::new(64);
        record(&mut limit, Outcome::Admitted, 100).await;
        assert_eq!(record(&mut limit, Outcome::Unknown, 9).await, 64);
        assert_eq!(record(&mut limit, Outcome::Unanswered, 9).await, 8);
        record(&mut limit, Outcome::Throttled, 1).await;
        assert_eq!(record(&mut limit, Outcome::Unanswered, 1).await, 4, "it does not rise");
    }

    #[test]
    fn limit_never_exceeds_a_maximum_below_8() {
        let mut limit = ConcurrencyLimit::new(3);
        limit.record(Instant::now(), Outcome::Admitted);
        assert_eq!(limit.limit, 3);
    }

    #[test]
    fn roles_have_three_quarters_of_the_limit_and_at_least_1() {
        assert_eq!([1, 2, 3, 8, 64].map(as_role), [1, 1, 2, 6, 48]);
    }

    #[tokio::test(start_paused = true)]
    async fn first_8_calls_are_apart_from_those_beyond() {
        let mut limit = ConcurrencyLimit::new(64);
        let sizes = |limit: &ConcurrencyLimit| [limit.first(), limit.beyond()].map(|size| (size.all, size.as_role));
        assert_eq!(sizes(&limit), [(8, 6), (0, 0)]);
        record(&mut limit, Outcome::Admitted, 56).await;
        assert_eq!(sizes(&limit), [(8, 6), (56, 42)]);
        record(&mut limit, Outcome::Throttled, 5).await;
        assert_eq!(sizes(&limit), [(2, 1), (0, 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn wait_is_estimated_with_the_growth_of_the_limit() {
        const LATENCY: Duration = Duration::from_millis(100);
        let mut limit = ConcurrencyLimit::new(64);
        let wait = |limit: &ConcurrencyLimit, calls| limit.wait(calls, false, LATENCY).as_millis();
        assert_eq!([0, 4, 8, 24, 56, 120].map(|calls| wait(&limit, calls)), [0, 50, 100, 200, 300, 400]);
        assert_eq!(limit.wait(6 + 10, true, LATENCY), LATENCY * 2, "roles: 6 of 8, then 10 of 14");
        record(&mut limit, Outcome::Throttled, 1).await;
        assert_eq!([4, 9, 15].map(|calls| wait(&limit, calls)), [100, 200, 300]);
    }
}
