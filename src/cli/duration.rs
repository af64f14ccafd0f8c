//! Durations in flags and variables.

use std::time::Duration;

/// Parses a duration such as `90s` or `1h30m`. Flags with it allow hyphens: `-1h` is a wrong value, not another flag.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "expected a duration such as 90s, 10m or 1h30m".to_owned())
}
