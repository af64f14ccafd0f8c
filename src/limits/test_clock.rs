//! The clock of this module's tests.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use crate::clock::Clock;
use crate::moment::Moment;

/// A clock that stands still until it is advanced.
#[derive(Debug, Default)]
pub(super) struct Still(Mutex<Duration>);

impl Clock for Still {
    fn now(&self) -> Moment {
        Moment { wall: SystemTime::UNIX_EPOCH, steady: *self.0.lock().unwrap() }
    }
}

impl Still {
    pub(super) fn advance(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}
