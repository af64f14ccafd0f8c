//! The difference between the broker's clock and that of a source.

use std::fmt;
use std::time::{Duration, SystemTime};

/// A difference between two clocks, as of the source's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSkew {
    amount: Duration,
    is_ahead: bool,
}

impl ClockSkew {
    /// Returns the difference of the broker's clock from the source's.
    #[must_use]
    pub fn between(broker: SystemTime, source: SystemTime) -> Self {
        match broker.duration_since(source) {
            Ok(amount) => Self { amount, is_ahead: true },
            Err(behind) => Self { amount: behind.duration(), is_ahead: false },
        }
    }

    /// Returns whether the broker's clock is ahead of the source's.
    #[must_use]
    pub fn is_ahead(self) -> bool {
        self.is_ahead
    }

    /// Returns the difference without its direction.
    #[must_use]
    pub fn amount(self) -> Duration {
        self.amount
    }
}

/// Writes the difference in whole seconds: `3m 20s behind`.
impl fmt::Display for ClockSkew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = humantime::format_duration(Duration::from_secs(self.amount.as_secs()));
        write!(f, "{amount} {}", if self.is_ahead { "ahead" } else { "behind" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skew_names_the_direction_of_the_brokers_clock() {
        let (early, late) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_millis(200_900));
        assert_eq!(ClockSkew::between(early, late).to_string(), "3m 20s behind");
        assert_eq!(ClockSkew::between(late, early).to_string(), "3m 20s ahead");
        assert_eq!(ClockSkew::between(late, early).amount(), Duration::from_millis(200_900));
    }
}
