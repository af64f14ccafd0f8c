//! Times and durations, for people.

use std::time::{Duration, SystemTime};

use crate::clock::{Clock as _, SystemClock};

/// The first second of the year 10000, which RFC 3339 has no words for.
const BEYOND: u64 = 253_402_300_800;

/// By this machine's clock.
pub(super) fn now() -> SystemTime {
    SystemClock::new().now().wall
}

pub(super) fn rfc3339(time: SystemTime) -> String {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) if since.as_secs() < BEYOND => humantime::format_rfc3339_seconds(time).to_string(),
        _ => "a year that nobody lives in".to_owned(),
    }
}

/// In whole seconds, and in whole minutes where those are many.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let seconds = if seconds >= 600 { seconds / 60 * 60 } else { seconds };
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// Seconds since 1970.
pub(super) fn at(seconds: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_too_odd_to_be_told() {
        assert_eq!(at(0).map(rfc3339).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(at(253_402_300_800).map(rfc3339).as_deref(), Some("a year that nobody lives in"));
        assert_eq!(span(Duration::from_millis(61_900)), "1m 1s");
        assert_eq!(span(Duration::from_secs(43_199)), "11h 59m");
    }
}
