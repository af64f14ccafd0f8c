//! Time. The only file that reads a clock.

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime};

/// Where everything else asks for the time, so that tests decide what time it is.
pub trait Clock: Debug + Send + Sync {
    /// The present.
    fn now(&self) -> Moment;
}

/// One reading of both clocks.
///
/// The wall clock is what AWS's expiry times are about, but an operator or NTP may step it; the steady clock cannot be
/// stepped, but it stands still while the machine sleeps. What must end in time ends when either of them says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Time of day.
    pub wall: SystemTime,
    /// Time since an arbitrary start; never goes back.
    pub steady: Duration,
}

impl Moment {
    /// This moment, as much later on both clocks.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self { wall: self.wall + time, steady: self.steady + time }
    }

    /// How long until `end`, by the clock that comes to it first; zero when it has passed on either.
    #[must_use]
    pub fn until(self, end: Self) -> Duration {
        let wall = end.wall.duration_since(self.wall).unwrap_or_default();
        wall.min(end.steady.saturating_sub(self.steady))
    }
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts the steady clock at zero.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the file that reads the clocks")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the file that reads the clocks")]
    fn now(&self) -> Moment {
        Moment { wall: SystemTime::now(), steady: self.start.elapsed() }
    }
}
