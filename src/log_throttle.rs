//! Throttles log lines that a caller can cause: at most one a minute.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Time between two log lines.
pub const INTERVAL: Duration = Duration::from_mins(1);

/// Remembers when a log line was last written. The default has never written one.
///
/// The value is milliseconds of the monotonic clock, plus one.
#[derive(Debug, Default)]
pub struct LogThrottle(AtomicU64);

impl LogThrottle {
    /// Returns whether the log line is due at `now` on the monotonic clock. One of several concurrent callers writes it.
    pub fn is_due(&self, now: Duration) -> bool {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let last = self.0.load(Ordering::Relaxed);
        let due = last == 0 || Duration::from_millis(now.saturating_sub(last)) >= INTERVAL;
        due && self.0.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_line_is_due_at_once_and_then_once_a_minute() {
        let throttle = LogThrottle::default();
        let due: Vec<_> = [0, 0, 59_999, 60_000, 60_001, 300_000].map(Duration::from_millis).into();
        let due: Vec<_> = due.into_iter().map(|now| throttle.is_due(now)).collect();
        assert_eq!(due, [true, false, false, true, false, true]);
    }
}
