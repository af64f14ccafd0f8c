//! A point in time on two clocks.

use std::time::{Duration, SystemTime};

/// One reading of both clocks.
///
/// AWS's expiry times are on the wall clock, which an operator or NTP may step. The monotonic clock cannot be stepped, but it
/// stands still while the machine sleeps. A deadline has passed as soon as either clock says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Time of day.
    pub wall: SystemTime,
    /// Time since an arbitrary start on the monotonic clock; never goes back. The machine's own clock starts when it boots.
    pub steady: Duration,
}

impl Moment {
    /// Returns the moment that is later by `time` on both clocks.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self { wall: self.wall + time, steady: self.steady + time }
    }

    /// Returns the moment that is earlier by `time` on both clocks, but not before the start of the monotonic one.
    #[must_use]
    pub fn before(self, time: Duration) -> Self {
        Self { wall: self.wall - time, steady: self.steady.saturating_sub(time) }
    }

    /// Returns the time since `start` on the clock with more of it; zero if `start` is later on both.
    #[must_use]
    pub fn since(self, start: Self) -> Duration {
        let wall = self.wall.duration_since(start.wall).unwrap_or_default();
        wall.max(self.steady.saturating_sub(start.steady))
    }

    /// Returns the time until `end` on the clock that reaches it first; zero if it has passed on either.
    #[must_use]
    pub fn until(self, end: Self) -> Duration {
        let wall = end.wall.duration_since(self.wall).unwrap_or_default();
        wall.min(end.steady.saturating_sub(self.steady))
    }
}
