//! Latency of calls, as an exponentially weighted moving average (EWMA).

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::sync::lock;

/// Assumed latency before the first call, and after a minute without calls.
const INITIAL: Duration = Duration::from_millis(100);
/// Weight of the last call.
const EWMA_WEIGHT: f64 = 0.1;
/// Age from which the average says nothing about the next call.
const MAX_AGE: Duration = Duration::from_mins(1);

/// Moving average of the calls' latency, and when the last call was recorded.
#[derive(Debug)]
pub(super) struct LatencyEwma(Mutex<Option<(Duration, Instant)>>);

impl LatencyEwma {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    pub(super) fn record(&self, latency: Duration) {
        let mut average = lock(&self.0);
        // The first call replaces the assumption: a burst is estimated from its first round trip on.
        let before = average.and_then(recent).unwrap_or(latency);
        *average = Some((before.mul_f64(1.0 - EWMA_WEIGHT) + latency.mul_f64(EWMA_WEIGHT), Instant::now()));
    }

    pub(super) fn get(&self) -> Duration {
        lock(&self.0).and_then(recent).unwrap_or(INITIAL)
    }
}

fn recent((average, recorded): (Duration, Instant)) -> Option<Duration> {
    (recorded.elapsed() < MAX_AGE).then_some(average)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_call_replaces_the_assumed_latency_and_later_ones_move_it() {
        let latency = LatencyEwma::new();
        assert_eq!(latency.get(), INITIAL);
        latency.record(Duration::from_secs(1));
        assert_eq!(latency.get(), Duration::from_secs(1));
        latency.record(Duration::from_secs(2));
        assert_eq!(latency.get(), Duration::from_millis(1_100));
    }

    #[tokio::test(start_paused = true)]
    async fn latency_is_forgotten_after_a_minute_without_calls() {
        let latency = LatencyEwma::new();
        latency.record(Duration::from_secs(7));
        tokio::time::advance(MAX_AGE).await;
        assert_eq!(latency.get(), INITIAL);
        latency.record(Duration::from_secs(1));
        assert_eq!(latency.get(), Duration::from_secs(1));
    }
}
