//! Delays before a watch opens again.

use std::time::Duration;

use crate::jitter;

/// Spread of the reconnects after a parent has ended a watch in order: at its age, or to shut down while others serve.
const ORDERLY: Duration = Duration::from_secs(2);
/// Spread of the reconnects after a parent was lost. All its children lose it together.
const SPREAD: Duration = Duration::from_secs(30);
/// Backoff after a first refusal. Each further one doubles it.
const FIRST_REFUSAL: Duration = Duration::from_mins(1);
/// Longest backoff after refusals.
const MAX_REFUSAL: Duration = Duration::from_mins(15);

/// How a watch ended, or why it did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source::broker) enum End {
    /// The parent ended it in order, and this parent or another address of it serves.
    Orderly,
    /// The parent is lost or unreachable, or its only address is shutting down.
    Lost,
    /// The parent refuses watches: a limit is used up, or it denies all keys.
    Refused {
        /// Delay that the parent requested.
        retry_after: Option<Duration>,
    },
}

/// Returns the delay before a watch opens again, after this number of attempts without a snapshot.
pub(super) fn reconnect_after(end: End, attempts: u32) -> Duration {
    match (end, attempts) {
        (End::Orderly, 0) => jitter::up_to(ORDERLY),
        (End::Lost, 0) => jitter::up_to(SPREAD),
        // A parent that returns has all its children back within the spread, and a dead one is not asked more often.
        (End::Orderly | End::Lost, _) => jitter::at_least(SPREAD / 2, 1.0),
        // The set's own backoff is longer.
        (End::Refused { .. }, _) => Duration::ZERO,
    }
}

/// Returns the time for which no watch opens after a refusal. Meanwhile the keys are refreshed by unary calls.
pub(super) fn refused_for(retry_after: Option<Duration>, refusals: u32) -> Duration {
    let backoff = FIRST_REFUSAL.saturating_mul(2_u32.saturating_pow(refusals)).min(MAX_REFUSAL);
    let requested = retry_after.unwrap_or_default().min(MAX_REFUSAL);
    jitter::at_least(backoff.max(requested), 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_watches_reconnect_within_30_seconds_at_every_attempt() {
        let seconds = |end, attempts| {
            let delays: Vec<_> = (0..2_000).map(|_| reconnect_after(end, attempts).as_secs_f64()).collect();
            (delays.iter().copied().fold(f64::MAX, f64::min), delays.iter().copied().fold(0.0, f64::max))
        };
        let (first, last) = seconds(End::Lost, 0);
        assert!(first < 1.0 && last > 29.0 && last <= 30.0, "{first} to {last}");
        let (first, last) = seconds(End::Lost, 7);
        assert!((15.0..16.0).contains(&first) && last > 29.0 && last <= 30.0, "{first} to {last}");
        assert!(seconds(End::Orderly, 0).1 <= 2.0);
        assert!(seconds(End::Orderly, 1).0 >= 15.0, "a parent that ends every watch at once is not asked in a loop");
    }

    #[test]
    fn refusals_back_off_from_1_to_15_minutes() {
        for (refusals, requested, minutes) in [(0, 0, 1), (1, 0, 2), (3, 0, 8), (9, 0, 15), (0, 5, 5), (9, 60, 15)] {
            let (requested, backoff) = (Duration::from_mins(requested), Duration::from_mins(minutes));
            let delay = refused_for(Some(requested), refusals);
            assert!((backoff..=backoff * 3 / 2).contains(&delay), "{refusals} {requested:?}: {delay:?}");
        }
    }
}
