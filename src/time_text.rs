//! Times and durations as text. A peer can send any of both.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// Returns a time of the years 1970 to 9999, which RFC 3339 can express, with milliseconds.
#[must_use]
pub fn rfc3339_millis(time: SystemTime) -> Option<String> {
    rfc3339(time, humantime::format_rfc3339_millis)
}

/// Returns a time of the years 1970 to 9999, which RFC 3339 can express, in seconds.
#[must_use]
pub fn rfc3339_seconds(time: SystemTime) -> Option<String> {
    rfc3339(time, humantime::format_rfc3339_seconds)
}

fn rfc3339(time: SystemTime, format: fn(SystemTime) -> humantime::Rfc3339Timestamp) -> Option<String> {
    time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let mut text = String::new();
    write!(text, "{}", format(time)).ok()?;
    Some(text)
}

/// Returns a duration in its two largest units, such as `11h59m`.
#[must_use]
pub fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, ..) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (61, "1m01s"), (3_600, "1h00m"), (43_199, "11h59m"), (90_000, "1d01h")]
        {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn time_outside_rfc_3339_has_no_text() {
        let after = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(rfc3339_seconds(after(0)).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(rfc3339_millis(after(253_402_300_800)), None, "the year 10000");
    }
}
