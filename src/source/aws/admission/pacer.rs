//! Pacing: while AWS throttles, calls start at an interval. A throttled call doubles the interval, an admitted one shrinks it.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::outcome::Outcome;
use crate::sync::lock;

/// Interval after the first throttled call.
const FIRST_INTERVAL: Duration = Duration::from_millis(50);
/// Longest interval.
const MAX_INTERVAL: Duration = Duration::from_millis(500);
/// Interval below which pacing ends.
const MIN_INTERVAL: Duration = Duration::from_millis(5);
/// Factor by which an admitted call shrinks the interval. About seven admitted calls undo one throttled call.
const SHRINK_FACTOR: f64 = 0.9;

/// Spaces the starts of calls.
#[derive(Debug)]
pub(super) struct Pacer {
    state: Mutex<State>,
    /// Locked by the call that starts next. The others queue for the lock, first come, first served.
    next: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    /// Time between the starts of two calls; zero if calls are not paced.
    interval: Duration,
    next_start: Instant,
    /// Time at which the interval last grew. The outcome of an earlier call says nothing about the new interval.
    slowed_at: Option<Instant>,
    /// Time of the last throttled call.
    throttled_at: Option<Instant>,
}

impl Pacer {
    pub(super) fn new() -> Self {
        let state = State { interval: Duration::ZERO, next_start: Instant::now(), slowed_at: None, throttled_at: None };
        Self { state: Mutex::new(state), next: tokio::sync::Mutex::default() }
    }

    pub(super) fn interval(&self) -> Duration {
        lock(&self.state).interval
    }

    /// Returns the time since the last throttled call.
    pub(super) fn throttled_ago(&self) -> Option<Duration> {
        lock(&self.state).throttled_at.map(|at| at.elapsed())
    }

    /// Waits until a call may start. One call waits at a time; a throttled call may move its start.
    pub(super) async fn wait(&self) {
        let _next = self.next.lock().await;
        while let Err(start) = self.start() {
            sleep_until(start).await;
        }
    }

    fn start(&self) -> Result<(), Instant> {
        lock(&self.state).start()
    }

    /// Adjusts the interval to the outcome of a call that started at `started`.
    pub(super) fn record(&self, started: Instant, outcome: Outcome) {
        lock(&self.state).record(started, outcome);
    }
}

impl State {
    /// Starts a call, or returns the earliest start as the error.
    fn start(&mut self) -> Result<(), Instant> {
        let now = Instant::now();
        if self.next_start > now {
            return Err(self.next_start);
        }
        self.next_start = now + self.interval;
        Ok(())
    }

    fn record(&mut self, started: Instant, outcome: Outcome) {
        if outcome == Outcome::Throttled {
            self.throttled_at = Some(Instant::now());
        }
        if self.slowed_at.is_some_and(|slowed_at| started <= slowed_at) {
            return;
        }
        match outcome {
            Outcome::Admitted => self.speed_up(),
            Outcome::Throttled => self.slow_down(),
            Outcome::Unanswered | Outcome::Unknown => {}
        }
    }

    fn speed_up(&mut self) {
        self.interval = self.interval.mul_f64(SHRINK_FACTOR);
        if self.interval < MIN_INTERVAL {
            self.interval = Duration::ZERO;
        }
    }

    fn slow_down(&mut self) {
        let now = Instant::now();
        self.interval = (self.interval * 2).clamp(FIRST_INTERVAL, MAX_INTERVAL);
        self.slowed_at = Some(now);
        self.next_start = self.next_start.max(now + self.interval);
        info!(interval = ?self.interval, "AWS calls paced after throttling");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn interval_doubles_when_throttled_and_ends_after_admitted_calls() {
        let pacer = Pacer::new();
        let record = async |outcome| {
            tokio::time::advance(Duration::from_millis(1)).await;
            pacer.record(Instant::now(), outcome);
            pacer.interval()
        };
        let mut intervals = Vec::new();
        for _ in 0..6 {
            intervals.push(record(Outcome::Throttled).await.as_millis());
        }
        assert_eq!(intervals, [50, 100, 200, 400, 500, 500]);
        assert_eq!(record(Outcome::Unknown).await, MAX_INTERVAL);
        let mut admitted = 0;
        while !record(Outcome::Admitted).await.is_zero() {
            admitted += 1;
        }
        assert_eq!(admitted, 43, "0.9 to the 44th of 500 ms is below 5 ms");
    }

    #[tokio::test(start_paused = true)]
    async fn call_that_started_before_the_interval_grew_changes_nothing() {
        let pacer = Pacer::new();
        let started = Instant::now();
        tokio::time::advance(Duration::from_millis(1)).await;
        pacer.record(Instant::now(), Outcome::Throttled);
        for outcome in [Outcome::Throttled, Outcome::Admitted] {
            pacer.record(started, outcome);
            assert_eq!(pacer.interval(), FIRST_INTERVAL, "{outcome:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn paced_calls_start_an_interval_apart() {
        let pacer = Pacer::new();
        tokio::time::advance(Duration::from_millis(1)).await;
        pacer.record(Instant::now(), Outcome::Throttled);
        let begin = Instant::now();
        for number in 1..=3 {
            pacer.wait().await;
            assert_eq!(begin.elapsed(), FIRST_INTERVAL * number);
        }
    }
}
