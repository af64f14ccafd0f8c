//! Times and durations as text.

use std::time::{Duration, SystemTime};

use crate::clock::{Clock as _, SystemClock};
use crate::time_text::rfc3339_seconds;

/// Returns the time of this machine's clock.
pub(super) fn now() -> SystemTime {
    SystemClock::new().now().wall
}

pub(super) fn rfc3339(time: SystemTime) -> String {
    rfc3339_seconds(time).unwrap_or_else(|| "a time outside the years 1970 to 9999".to_owned())
}

/// Returns a duration in whole seconds, from ten minutes on in whole minutes.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let seconds = if seconds >= 600 { seconds / 60 * 60 } else { seconds };
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// Returns the time that is this many seconds after 1970.
pub(super) fn from_unix(seconds: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first second of the year 10000, which RFC 3339 cannot express.
    const YEAR_10000: u64 = 253_402_300_800;

    #[test]
    fn time_of_any_year_has_a_text() {
        assert_eq!(from_unix(0).map(rfc3339).as_deref(), Some("1970-01-01T00:00:00Z"));
        let far = from_unix(YEAR_10000).map(rfc3339);
        assert_eq!(far.as_deref(), Some("a time outside the years 1970 to 9999"));
        assert_eq!(duration(Duration::from_millis(61_900)), "1m 1s");
        assert_eq!(duration(Duration::from_secs(43_199)), "11h 59m");
    }
}
