//! Latency of calls, as an exponentially weighted moving average (EWMA).

use std::sync::Mutex;
use std::time::Duration;

use crate::sync::lock;

/// Assumed latency before the first call.
const INITIAL: Duration = Duration::from_millis(100);
/// Weight of the last call.
const EWMA_WEIGHT: f64 = 0.1;

/// Moving average of the calls' latency.
#[derive(Debug)]
pub(super) struct LatencyEwma(Mutex<Option<Duration>>);

impl LatencyEwma {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    pub(super) fn record(&self, latency: Duration) {
        let mut average = lock(&self.0);
        // The first call replaces the assumption: a burst is estimated from its first round trip on.
        let before = average.unwrap_or(latency);
        *average = Some(before.mul_f64(1.0 - EWMA_WEIGHT) + latency.mul_f64(EWMA_WEIGHT));
    }

    pub(super) fn get(&self) -> Duration {
        lock(&self.0).unwrap_or(INITIAL)
    }
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
}
