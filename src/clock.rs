//! The system clocks. The only file that reads them.

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime};

use crate::moment::Moment;

#[cfg_attr(unix, path = "clock/unix.rs")]
#[cfg_attr(windows, path = "clock/windows.rs")]
mod system;

/// The source of time for every other file, so that tests can set it.
pub trait Clock: Debug + Send + Sync {
    /// Returns the present.
    fn now(&self) -> Moment;

    /// Returns the present on the monotonic clock alone.
    fn steady(&self) -> Duration {
        self.now().steady
    }
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
    /// The monotonic clock at `start`. It is the same for every process until the machine boots, so that a moment that one process
    /// notes has a meaning for the next one.
    since_boot: Duration,
}

impl SystemClock {
    /// Returns the machine's clocks.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the file that reads the clocks")]
    pub fn new() -> Self {
        Self { start: Instant::now(), since_boot: system::since_boot() }
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
        Moment { wall: SystemTime::now(), steady: self.steady() }
    }

    fn steady(&self) -> Duration {
        self.since_boot + self.start.elapsed()
    }
}
