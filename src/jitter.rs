//! Jitter: random spread of delays, so that events that coincided once do not coincide again.

use std::time::Duration;

/// Largest deviation of [`around`], as a fraction of the delay.
const SPREAD: f64 = 0.1;

/// Returns `delay`, at most 10 % shorter or longer.
#[must_use]
pub fn around(delay: Duration) -> Duration {
    delay.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * fastrand::f64())
}

/// Returns `delay`, at most `fraction` longer: 0.25 is a quarter. For delays that must not be shortened.
#[must_use]
pub fn at_least(delay: Duration, fraction: f64) -> Duration {
    delay.mul_f64(1.0 + fraction * fastrand::f64())
}

/// Returns any delay up to `longest` ("full jitter").
#[must_use]
pub fn up_to(longest: Duration) -> Duration {
    longest.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_within_their_spread() {
        let second = Duration::from_secs(1);
        for _ in 0..10_000 {
            assert!((0.9..=1.1).contains(&around(second).as_secs_f64()));
            assert!((1.0..=1.25).contains(&at_least(second, 0.25).as_secs_f64()));
            assert!(up_to(second) <= second);
        }
    }

    #[test]
    fn delays_differ() {
        let minute = Duration::from_mins(1);
        assert_ne!(around(minute), around(minute));
        assert_ne!(at_least(minute, 0.1), at_least(minute, 0.1));
        assert_ne!(up_to(minute), up_to(minute));
    }
}
