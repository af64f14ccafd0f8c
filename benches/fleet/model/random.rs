//! Random choices from one seed.

use std::f64::consts::TAU;

/// Spread of AWS's latency: the standard deviation of its logarithm. The slowest of a hundred calls takes 2.3 times the median.
const LATENCY_SPREAD: f64 = 0.35;

#[derive(Debug)]
pub(super) struct Random(fastrand::Rng);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    pub(super) fn between(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.0.f64()
    }

    /// Returns the jitter of refreshes.
    pub(super) fn around(&mut self, value: f64) -> f64 {
        value * self.between(0.9, 1.1)
    }

    /// Returns the time until the next event of a rate.
    pub(super) fn wait(&mut self, per_second: f64) -> f64 {
        -(1.0 - self.0.f64()).ln() / per_second.max(1e-9)
    }

    /// Returns a latency with a long tail.
    pub(super) fn latency(&mut self, median: f64) -> f64 {
        let (one, two) = (1.0 - self.0.f64(), self.0.f64());
        let normal = (-2.0 * one.ln()).sqrt() * (TAU * two).cos();
        median * (LATENCY_SPREAD * normal).exp()
    }
}
