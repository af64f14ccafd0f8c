//! The log lines of an identity that goes missing and is found again.

use std::sync::Mutex;
use std::time::Duration;

use tracing::{info, warn};

use super::super::default_chain::Reason;
use crate::log_throttle::LogThrottle;
use crate::sync::lock;

/// Logs the reasons when the identity goes missing, or is missing for other reasons, and one line when it is found again.
#[derive(Debug, Default)]
pub(super) struct ReasonLog {
    /// The reasons of the last line; empty after an identity was found.
    logged: Mutex<Vec<Reason>>,
    throttle: LogThrottle,
}

/// A line to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Found,
    NotFound,
}

impl ReasonLog {
    /// Logs what a check found at `now` on the monotonic clock; no reasons mean an identity.
    pub(super) fn write(&self, reasons: &[Reason], now: Duration) {
        match self.line(reasons, now) {
            Some(Line::Found) => info!("AWS credentials found"),
            Some(Line::NotFound) => {
                let reasons = reasons.iter().map(Reason::log_text).collect::<Vec<_>>().join("; ");
                warn!(reasons, "AWS credentials not found");
            }
            None => {}
        }
    }

    /// Returns the line that is due. Reasons that the throttle holds back are due at a later check, because they are compared with
    /// those of the last line.
    fn line(&self, reasons: &[Reason], now: Duration) -> Option<Line> {
        let mut logged = lock(&self.logged);
        let is_due = *logged != reasons && (logged.is_empty() || reasons.is_empty() || self.throttle.is_due(now));
        is_due.then(|| {
            *logged = reasons.to_vec();
            if reasons.is_empty() { Line::Found } else { Line::NotFound }
        })
    }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::provider::error::CredentialsError;

    use super::super::super::default_chain::reasons;
    use super::*;

    fn because(text: &'static str) -> Vec<Reason> {
        reasons(&CredentialsError::provider_error(text))
    }

    #[test]
    fn reasons_that_change_within_a_minute_are_logged_after_it() {
        let log = ReasonLog::default();
        let line = |reasons: &[Reason], second| log.line(reasons, Duration::from_secs(second));
        assert_eq!(line(&[], 0), None);
        assert_eq!(line(&because("a"), 0), Some(Line::NotFound));
        assert_eq!(line(&because("b"), 1), Some(Line::NotFound));
        assert_eq!(line(&because("c"), 2), None, "throttled");
        assert_eq!(line(&because("c"), 60), None, "throttled");
        assert_eq!(line(&because("c"), 61), Some(Line::NotFound));
        assert_eq!(line(&because("c"), 200), None, "logged before");
        assert_eq!(line(&[], 201), Some(Line::Found));
        assert_eq!(line(&[], 202), None);
    }
}
