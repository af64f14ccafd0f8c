//! Outcome of a call, for pacing and for the concurrency limit.

use crate::error::FailureClass;
use crate::source::FetchError;

/// Whether AWS admitted a call or throttled it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// AWS answered with a credential or a denial.
    Admitted,
    /// AWS throttled the call.
    Throttled,
    /// The call got no answer, or a server error.
    Unanswered,
    /// The call failed in another way.
    Unknown,
}

impl Outcome {
    pub(super) fn of<T>(result: &Result<T, FetchError>) -> Self {
        match result {
            Ok(_) => Self::Admitted,
            Err(FetchError::Upstream(failure)) => match failure.class {
                FailureClass::Denied => Self::Admitted,
                FailureClass::Throttled => Self::Throttled,
                FailureClass::Unavailable => Self::Unanswered,
                FailureClass::NoCredentials
                | FailureClass::Misconfigured
                | FailureClass::ClockSkewed
                | FailureClass::InvalidResponse => Self::Unknown,
            },
            Err(FetchError::QueueFull { .. }) => Self::Unknown,
        }
    }
}
