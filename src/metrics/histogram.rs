//! Histograms with fixed buckets. prometheus-client's own takes a mutex for each observation.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::sharded::Sharded;

/// Highest number of buckets with a bound. With the one above them and the sum, a shard is two cache lines.
const MAX_BOUNDS: usize = 14;

/// The upper bounds of a histogram's buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buckets {
    /// In units, ascending.
    bounds: [u64; MAX_BOUNDS],
    /// Units of a second: sums are whole numbers.
    per_second: u32,
}

impl Buckets {
    /// Durations of calls, 0.5 ms to 10 s. Observed in nanoseconds.
    pub const CALLS: Self = Self {
        bounds: [
            500_000,
            1_000_000,
            2_500_000,
            5_000_000,
            10_000_000,
            25_000_000,
            50_000_000,
            100_000_000,
            250_000_000,
            500_000_000,
            1_000_000_000,
            2_000_000_000,
            5_000_000_000,
            10_000_000_000,
        ],
        per_second: 1_000_000_000,
    };
    /// Remaining validity of credentials, one minute to twelve hours. Observed in milliseconds: a sum of nanoseconds would overflow
    /// within minutes.
    pub const VALIDITY: Self = Self {
        bounds: [
            60_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 10_800_000, 14_400_000, 21_600_000,
            28_800_000, 36_000_000, 39_600_000, 43_200_000,
        ],
        per_second: 1_000,
    };

    /// Returns a duration in units, at most what a sum can take.
    fn units(&self, duration: Duration) -> u64 {
        let nanos = u64::from(duration.subsec_nanos());
        let fraction = nanos * u64::from(self.per_second) / 1_000_000_000;
        duration.as_secs().saturating_mul(self.per_second.into()).saturating_add(fraction)
    }

    #[expect(clippy::cast_precision_loss, reason = "a text format has no more digits")]
    fn seconds(&self, units: u64) -> f64 {
        units as f64 / f64::from(self.per_second)
    }
}

/// A histogram of durations. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    buckets: Buckets,
    shards: Sharded<Shard>,
}

#[derive(Debug, Default)]
struct Shard {
    /// The observations of each bucket, the last one without a bound.
    counts: [AtomicU64; MAX_BOUNDS + 1],
    sum: AtomicU64,
}

impl Histogram {
    /// Returns an empty histogram.
    #[must_use]
    pub fn new(buckets: Buckets) -> Self {
        Self(Arc::new(Inner { buckets, shards: Sharded::default() }))
    }

    /// Adds a duration.
    pub fn observe(&self, duration: Duration) {
        let Inner { buckets, shards } = &*self.0;
        let (units, shard) = (buckets.units(duration), shards.own());
        let bucket = buckets.bounds.partition_point(|bound| *bound < units);
        shard.counts[bucket].fetch_add(1, Ordering::Relaxed);
        shard.sum.fetch_add(units, Ordering::Relaxed);
    }

    /// Returns the upper bound in seconds and the observations of each bucket, and the sum in seconds.
    fn snapshot(&self) -> ([(f64, u64); MAX_BOUNDS + 1], f64) {
        let Inner { buckets, shards } = &*self.0;
        let mut counts = [(f64::INFINITY, 0_u64); MAX_BOUNDS + 1];
        for (count, bound) in counts.iter_mut().zip(buckets.bounds) {
            count.0 = buckets.seconds(bound);
        }
        let mut sum = 0_u64;
        for shard in shards.all() {
            for (count, of_shard) in counts.iter_mut().zip(&shard.counts) {
                count.1 = count.1.wrapping_add(of_shard.load(Ordering::Relaxed));
            }
            sum = sum.wrapping_add(shard.sum.load(Ordering::Relaxed));
        }
        (counts, buckets.seconds(sum))
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let (counts, sum) = self.snapshot();
        // The count is that of the buckets read, so that they agree while observations go on.
        let count = counts.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &counts, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(histogram: &Histogram) -> Vec<(f64, u64)> {
        histogram.snapshot().0.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn bound_belongs_to_its_own_bucket_and_the_rest_to_the_last() {
        let histogram = Histogram::new(Buckets::CALLS);
        for micros in [0, 499, 500, 501, 1_000, 10_000_000, 10_000_001, 3_600_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        assert_eq!(counts(&histogram), [(0.000_5, 3), (0.001, 2), (10.0, 1), (f64::INFINITY, 2)]);
    }

    #[test]
    fn sum_is_exact_and_does_not_overflow_with_long_validities() {
        let histogram = Histogram::new(Buckets::VALIDITY);
        for _ in 0..1_000_000 {
            histogram.observe(Duration::from_hours(12));
        }
        assert!((histogram.snapshot().1 - 43_200_000_000.0).abs() < 0.001);
        assert_eq!(counts(&histogram), [(43_200.0, 1_000_000)]);
    }

    #[test]
    fn bounds_ascend() {
        for buckets in [Buckets::CALLS, Buckets::VALIDITY] {
            assert!(buckets.bounds.is_sorted_by(|one, next| one < next));
        }
    }

    #[test]
    fn concurrent_observations_are_all_counted() {
        let histogram = Histogram::new(Buckets::CALLS);
        std::thread::scope(|scope| {
            for millis in 1..=20 {
                let histogram = &histogram;
                scope.spawn(move || (0..1_000).for_each(|_| histogram.observe(Duration::from_millis(millis))));
            }
        });
        let (counts, sum) = histogram.snapshot();
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 20_000);
        assert!((sum - 210.0).abs() < 1e-9, "{sum}");
    }
}
