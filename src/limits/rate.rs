//! A rate with bursts, in one number: the generic cell rate algorithm of ITU-T I.371. (The crate `governor` has it too, with a
//! second `hashbrown` and four more crates in the tree.)

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Burst after a quiet time, in seconds of the rate.
const BURST_SECONDS: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// How much may be spent in the mean, and at once after a quiet time.
#[derive(Debug)]
pub(super) struct Rate {
    /// What one costs, in nanoseconds.
    cost: u64,
    /// The most that may be spent in advance, in nanoseconds.
    credit: u64,
    /// When all that was spent will have been earned, in nanoseconds of the steady clock.
    paid_at: AtomicU64,
}

impl Rate {
    /// Returns a rate whose burst is [`BURST_SECONDS`] worth.
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        Self::with_burst(per_second, BURST_SECONDS)
    }

    fn with_burst(per_second: NonZeroU32, burst_seconds: NonZeroU32) -> Self {
        let cost = nanos(Duration::from_secs(1)) / u64::from(per_second.get());
        let at_once = u64::from(per_second.get()) * u64::from(burst_seconds.get());
        Self { cost, credit: cost.saturating_mul(at_once), paid_at: AtomicU64::new(0) }
    }

    /// Spends all of it, or nothing.
    ///
    /// # Errors
    /// How long from now until there is enough; of more than may ever be spent at once, what is missing.
    pub(super) fn spend(&self, number: NonZeroU32, now: Duration) -> Result<(), Duration> {
        let (now, price) = (nanos(now), self.cost.saturating_mul(number.get().into()));
        let bought = |paid_at: u64| paid_at.max(now).saturating_add(price);
        let limit = now.saturating_add(self.credit);
        let spent = self.paid_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid_at| {
            Some(bought(paid_at)).filter(|paid_at| *paid_at <= limit)
        });
        spent.map(drop).map_err(|paid_at| Duration::from_nanos(bought(paid_at) - limit))
    }
}

impl Rate {
    /// Spends one that is gone already, into debt where there is not enough, but no further than `deepest`.
    pub(super) fn owe(&self, now: Duration, deepest: Duration) {
        let now = nanos(now);
        let most = now.saturating_add(self.credit).saturating_add(nanos(deepest));
        let owed = |paid_at: u64| Some(paid_at.max(now).saturating_add(self.cost).min(most));
        _ = self.paid_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, owed);
    }

    /// How long until one may be spent; zero: now.
    pub(super) fn wait(&self, now: Duration) -> Duration {
        let now = nanos(now);
        let next = self.paid_at.load(Ordering::Relaxed).max(now).saturating_add(self.cost);
        Duration::from_nanos(next.saturating_sub(now.saturating_add(self.credit)))
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
    fn a_burst_and_then_the_rate_and_after_a_quiet_time_the_burst_again() {
        let rate = Rate::with_burst(count(10), count(2));
        let at = Duration::from_millis;
        assert_eq!(rate.spend(count(20), at(0)), Ok(()));
        assert_eq!(rate.spend(count(1), at(0)), Err(at(100)));
        assert_eq!(rate.spend(count(3), at(0)), Err(at(300)));
        assert_eq!(rate.spend(count(1), at(99)), Err(at(1)));
        assert_eq!(rate.spend(count(1), at(100)), Ok(()));
        assert_eq!(rate.spend(count(1), at(100)), Err(at(100)));
        assert_eq!(rate.spend(count(20), at(60_000)), Ok(()));
        assert_eq!(rate.spend(count(1), at(60_000)), Err(at(100)), "what was not spent does not add up");
        assert_eq!(rate.spend(count(21), at(120_000)), Err(at(100)), "never at once");
    }

    #[test]
    fn a_debt_is_waited_for_and_has_an_end() {
        let rate = Rate::with_burst(count(10), count(1));
        let at = Duration::from_millis;
        for _ in 0..10 {
            assert_eq!(rate.wait(at(0)), Duration::ZERO);
            rate.owe(at(0), at(5_000));
        }
        assert_eq!(rate.wait(at(0)), at(100));
        (0..10).for_each(|_| rate.owe(at(0), at(5_000)));
        assert_eq!((rate.wait(at(0)), rate.wait(at(1_000))), (at(1_100), at(100)));
        (0..1_000).for_each(|_| rate.owe(at(0), at(5_000)));
        assert_eq!((rate.wait(at(0)), rate.wait(at(5_100))), (at(5_100), Duration::ZERO));
    }

    #[test]
    fn many_at_the_same_time_spend_no_more_than_there_is() {
        let rate = Rate::new(count(100));
        let as_much_as_it_can = || (0..1_000).filter(|_| rate.spend(count(1), Duration::ZERO).is_ok()).count();
        let spent: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(as_much_as_it_can)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(spent, 1_000);
    }
}
