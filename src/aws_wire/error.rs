//! Errors, as an AWS SDK reads them.

use std::time::Duration;

use http::StatusCode;

/// The error of a rejected request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsError {
    /// The HTTP status. SDKs use it only if they do not know the code.
    pub status: StatusCode,
    /// The error code.
    pub code: &'static str,
    /// The message for people.
    pub message: String,
    /// The wait before the next attempt, if the service names one.
    pub retry_after: Option<Duration>,
}

impl AwsError {
    /// Returns an error of any status.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    /// Returns an error of status 400, which JSON 1.1 uses for nearly everything.
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// Returns an error of status 403, for a rejected caller.
    pub fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }
}
