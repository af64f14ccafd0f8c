//! Levels of urgency, which are colours on the page.

use std::time::Duration;

/// Validity below which a credential is marked. A refresh is due long before.
const LOW: Duration = Duration::from_hours(3);
/// Validity below which it is marked as an emergency.
const VERY_LOW: Duration = Duration::from_hours(1);

/// How urgent a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Neither good nor bad.
    None,
    Good,
    Low,
    Bad,
}

impl Level {
    /// Returns the level of a credential by the validity that is left.
    pub(super) fn of(remaining: Duration) -> Self {
        match remaining {
            left if left < VERY_LOW => Self::Bad,
            left if left < LOW => Self::Low,
            _ => Self::Good,
        }
    }

    /// Returns the class of the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::None => "plain",
            Self::Good => "good",
            Self::Low => "low",
            Self::Bad => "bad",
        }
    }
}
