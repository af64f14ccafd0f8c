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
pub(super) struct LatencyEwma(Mutex<Duration>);

impl LatencyEwma {
    pub(super) fn new() -> Self {
        Self(Mutex::new(INITIAL))
    }

    pub(super) fn record(&self, latency: Duration) {
        let mut average = lock(&self.0);
        *average = average.mul_f64(1.0 - EWMA_WEIGHT) + latency.mul_f64(EWMA_WEIGHT);
    }

    pub(super) fn get(&self) -> Duration {
        *lock(&self.0)
    }
}
