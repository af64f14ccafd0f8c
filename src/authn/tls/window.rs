//! A range of seconds since 1970, in which the validity of no root changes.

use std::time::{Duration, SystemTime};

/// A range of seconds: `from` belongs to it, `until` does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: u64,
    pub(super) until: u64,
}

impl Window {
    pub(super) fn contains(self, second: u64) -> bool {
        (self.from..self.until).contains(&second)
    }

    /// Returns the window around `second` between the nearest of some boundaries.
    pub(super) fn around(second: u64, boundaries: impl Iterator<Item = u64> + Clone) -> Self {
        let from = boundaries.clone().filter(|boundary| *boundary <= second).max();
        let until = boundaries.filter(|boundary| *boundary > second).min();
        Self { from: from.unwrap_or(0), until: until.unwrap_or(u64::MAX) }
    }
}

/// Returns the seconds since 1970; a time before is 0.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Returns the time as text.
pub(super) fn text(second: u64) -> String {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(second))
        .map_or_else(|| second.to_string(), |time| humantime::format_rfc3339_seconds(time).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_ends_at_the_nearest_boundaries() {
        let around = |second| Window::around(second, [10, 20, 30].into_iter());
        for (second, from, until) in [(0, 0, 10), (10, 10, 20), (19, 10, 20), (20, 20, 30), (99, 30, u64::MAX)] {
            assert_eq!(around(second), Window { from, until }, "{second}");
            assert!(around(second).contains(second) && !around(second).contains(until));
        }
        assert_eq!(Window::around(5, std::iter::empty()), Window { from: 0, until: u64::MAX });
    }
}
