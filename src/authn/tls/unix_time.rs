//! The broker's clock as rustls reads it.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use crate::clock::Clock;

/// Gives rustls the time of a [`Clock`].
#[derive(Debug)]
pub(super) struct ClockTime(pub(super) Arc<dyn Clock>);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.now().wall))
    }
}

/// Converts a time. A time before 1970 becomes 1970, when no certificate was valid yet.
pub(super) fn unix_time(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}
