//! Outcome of a call, for pacing and for the concurrency limit.

use crate::error::{FailureClass, SourceName};
use crate::source::FetchError;

/// Whether the source admitted a call or throttled it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The source answered with a credential or a denial.
    Admitted,
    /// The source throttled the call.
    Throttled,
    /// The call got no answer, or a server error.
    Unanswered,
    /// The call failed in another way.
    Unknown,
}

impl Outcome {
    pub(super) fn of<T>(result: &Result<T, FetchError>) -> Self {
        match result {
            Ok(_) | Err(FetchError::OfRequest(_)) => Self::Admitted,
            Err(FetchError::Upstream(failure)) => match failure.class {
                // A parent broker that AWS throttles has other credentials cached: its own calls are paced already.
                FailureClass::Throttled if failure.source == SourceName::Aws => Self::Throttled,
                FailureClass::Denied | FailureClass::ParentDenied | FailureClass::Throttled => Self::Admitted,
                // The broker's own budget of STS calls: AWS was not called.
                FailureClass::Overloaded if failure.source == SourceName::Aws => Self::Unknown,
                FailureClass::Overloaded => Self::Throttled,
                FailureClass::Unavailable | FailureClass::ParentUnavailable => Self::Unanswered,
                FailureClass::NoCredentials
                | FailureClass::Misconfigured
                | FailureClass::ClockSkewed
                | FailureClass::InvalidResponse => Self::Unknown,
            },
            Err(FetchError::QueueFull { .. }) => Self::Unknown,
        }
    }
}
