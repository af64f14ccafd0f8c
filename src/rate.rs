//! Rate limit with bursts: the generic cell rate algorithm (GCRA) of ITU-T I.371, whose state is one number.
//!
//! The crate `governor` implements it, too, but adds a second `hashbrown` and four more crates to the tree.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Burst after a quiet time, in seconds of the rate.
const BURST_SECONDS: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// A rate limit. All times are nanoseconds of the monotonic clock.
#[derive(Debug)]
pub(crate) struct Rate {
    /// Time that one event takes at the rate.
    interval: u64,
    /// Time by which events may be ahead of the rate: the burst.
    tolerance: u64,
    /// Time of the next event if all events had come at the rate.
    theoretical_arrival: AtomicU64,
}

impl Rate {
    /// Returns a rate whose burst is [`BURST_SECONDS`] worth.
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        Self::with_burst(per_second, BURST_SECONDS)
    }

    /// Returns a rate whose burst is as many seconds' worth.
    pub(crate) fn with_burst(per_second: NonZeroU32, burst_seconds: NonZeroU32) -> Self {
        let interval = nanos(Duration::from_secs(1)) / u64::from(per_second.get());
        let burst = u64::from(per_second.get()) * u64::from(burst_seconds.get());
        Self { interval, tolerance: interval.saturating_mul(burst), theoretical_arrival: AtomicU64::new(0) }
    }

    /// Returns a rate of one event in each interval, without a burst.
    pub(crate) fn one_in(interval: Duration) -> Self {
        let interval = nanos(interval);
        Self { interval, tolerance: interval, theoretical_arrival: AtomicU64::new(0) }
    }

    /// Admits `count` events at once, or none.
    ///
    /// # Errors
    /// The time until the events can be admitted. More events than the burst are never admitted; the time is then the excess over the burst.
    pub(crate) fn admit(&self, count: NonZeroU32, now: Duration) -> Result<(), Duration> {
        let (now, time) = (nanos(now), self.interval.saturating_mul(count.get().into()));
        let next = |arrival: u64| arrival.max(now).saturating_add(time);
        let latest = now.saturating_add(self.tolerance);
        let admitted = self.theoretical_arrival.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |arrival| {
            Some(next(arrival)).filter(|next| *next <= latest)
        });
        admitted.map(drop).map_err(|arrival| Duration::from_nanos(next(arrival) - latest))
    }

    /// Counts one event that has already happened, even above the limit. Caps the debt, so that [`Self::wait`] is at most about
    /// `max_wait`.
    pub(crate) fn record(&self, now: Duration, max_wait: Duration) {
        let now = nanos(now);
        let latest = now.saturating_add(self.tolerance).saturating_add(nanos(max_wait));
        let next = |arrival: u64| Some(arrival.max(now).saturating_add(self.interval).min(latest));
        _ = self.theoretical_arrival.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// Returns the time that one event takes at the rate.
    pub(crate) fn time_of_one(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// Returns the time until one event can be admitted; zero if it can be now.
    pub(crate) fn wait(&self, now: Duration) -> Duration {
        let now = nanos(now);
        let next = self.theoretical_arrival.load(Ordering::Relaxed).max(now).saturating_add(self.interval);
        Duration::from_nanos(next.saturating_sub(now.saturating_add(self.tolerance)))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    #[test]
    fn rate_allows_a_burst_and_after_a_quiet_time_another_one() {
        let rate = Rate::with_burst(count(10), count(2));
        let at = Duration::from_millis;
        assert_eq!(rate.admit(count(20), at(0)), Ok(()));
        assert_eq!(rate.admit(count(1), at(0)), Err(at(100)));
        assert_eq!(rate.admit(count(3), at(0)), Err(at(300)));
        assert_eq!(rate.admit(count(1), at(99)), Err(at(1)));
        assert_eq!(rate.admit(count(1), at(100)), Ok(()));
        assert_eq!(rate.admit(count(1), at(100)), Err(at(100)));
        assert_eq!(rate.admit(count(20), at(60_000)), Ok(()));
        assert_eq!(rate.admit(count(1), at(60_000)), Err(at(100)), "an unused burst does not add up");
        assert_eq!(rate.admit(count(21), at(120_000)), Err(at(100)), "more than the burst is never admitted");
    }

    #[test]
    fn recorded_events_cause_a_bounded_wait() {
        let rate = Rate::with_burst(count(10), count(1));
        let at = Duration::from_millis;
        for _ in 0..10 {
            assert_eq!(rate.wait(at(0)), Duration::ZERO);
            rate.record(at(0), at(5_000));
        }
        assert_eq!(rate.wait(at(0)), at(100));
        (0..10).for_each(|_| rate.record(at(0), at(5_000)));
        assert_eq!((rate.wait(at(0)), rate.wait(at(1_000))), (at(1_100), at(100)));
        (0..1_000).for_each(|_| rate.record(at(0), at(5_000)));
        assert_eq!((rate.wait(at(0)), rate.wait(at(5_100))), (at(5_100), Duration::ZERO));
    }

    #[test]
    fn concurrent_events_do_not_exceed_the_burst() {
        let rate = Rate::new(count(100));
        let admitted_events = || (0..1_000).filter(|_| rate.admit(count(1), Duration::ZERO).is_ok()).count();
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(admitted_events)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(admitted, 1_000);
    }
}
