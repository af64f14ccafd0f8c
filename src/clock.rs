//! The system clocks. The only file that reads them.

use std::fmt::Debug;
use std::time::{Instant, SystemTime};

use crate::moment::Moment;

/// The source of time for every other file, so that tests can set it.
pub trait Clock: Debug + Send + Sync {
    /// Returns the present.
    fn now(&self) -> Moment;
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts the monotonic clock at zero.
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
