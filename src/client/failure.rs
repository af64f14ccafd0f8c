//! Failures of calls, reduced to what error messages, retries and exit codes need.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt as _;

use super::tls_problem::{RUN_DOCTOR, connection_error};
use super::transient::is_transient;

/// The broker's error, or why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// gRPC status code.
    pub code: Code,
    /// Machine-readable reason, if the broker gave one.
    pub reason: Option<String>,
    /// Details that the broker gave with the reason, such as `registry` and `aws_error_code`.
    pub metadata: BTreeMap<String, String>,
    /// Cause and fix.
    pub message: String,
    /// Request ID in the broker's logs.
    pub request_id: Option<String>,
    /// Wait before the next try, if waiting helps.
    pub retry_after: Option<Duration>,
    /// Whether the connection broke or reached its maximum age during the call.
    pub connection_lost: bool,
    /// Whether the call may succeed over a new connection.
    pub may_reconnect: bool,
    /// Whether the client has no token to send.
    pub token_missing: bool,
}

impl Failure {
    /// Returns the registry that the error is about, if the broker named one.
    #[must_use]
    pub fn registry(&self) -> Option<&String> {
        self.metadata.get("registry")
    }

    pub(super) fn from_status(status: &Status) -> Self {
        // tonic reports the client's own timeout as CANCELLED.
        if status.code() == Code::Cancelled && status.message() == TimeoutExpired(()).to_string() {
            return Self::timed_out();
        }
        // Only a status that tonic made itself has a source: the connection failed.
        if let Some(cause) = status.source() {
            return Self::lost_connection(cause);
        }
        let details = status.get_error_details();
        let request_id = details.request_info().map(|info| info.request_id.clone());
        let info = details.error_info();
        Self {
            code: status.code(),
            reason: info.map(|info| info.reason.clone()),
            metadata: info.map(|info| info.metadata.clone().into_iter().collect()).unwrap_or_default(),
            message: status.message().to_owned(),
            request_id,
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            // tonic reports CANCELLED for a call that a closing connection did not send; a broker never does.
            connection_lost: status.code() == Code::Cancelled,
            may_reconnect: status.code() == Code::Cancelled,
            token_missing: false,
        }
    }

    /// A failure to connect.
    pub(super) fn unreachable(message: String) -> Self {
        Self { code: Code::Unavailable, ..Self::local(message) }
    }

    /// The client's own time limit.
    pub(crate) fn timed_out() -> Self {
        let message = "no answer within the timeout; raise --timeout or ECR_BROKER_TIMEOUT".to_owned();
        Self { code: Code::DeadlineExceeded, ..Self::local(message) }
    }

    fn lost_connection(cause: &(dyn Error + 'static)) -> Self {
        let may_reconnect = is_transient(cause);
        let fix = if may_reconnect { String::new() } else { format!("; {RUN_DOCTOR}") };
        let message = format!("connection to the broker lost: {}{fix}", connection_error(cause));
        Self { code: Code::Unavailable, connection_lost: true, may_reconnect, ..Self::local(message) }
    }

    /// Names how often the connection was lost, and in which time.
    pub(super) fn after_losses(self, losses: u32, waited: Duration) -> Self {
        let waited = waited.as_secs_f64();
        let message = format!("{} ({losses} times in {waited:.1} s); check the broker's log", self.message);
        Self { message, ..self }
    }

    /// A failure on the client's side, before or after the call.
    pub(crate) fn local(message: String) -> Self {
        Self {
            code: Code::Unknown,
            reason: None,
            metadata: BTreeMap::new(),
            message,
            request_id: None,
            retry_after: None,
            connection_lost: false,
            may_reconnect: false,
            token_missing: false,
        }
    }

    /// A token source without a token.
    pub(super) fn without_token(message: String) -> Self {
        Self { token_missing: true, ..Self::local(message) }
    }

    /// A token that has ended and that its source does not renew.
    pub(super) fn token_ended(message: String) -> Self {
        Self { code: Code::Unauthenticated, ..Self::without_token(message) }
    }

    /// An I/O error of this host.
    pub(crate) fn from_io(error: &std::io::Error) -> Self {
        Self::local(error.to_string())
    }

    /// A response without credentials.
    pub(crate) fn empty_response() -> Self {
        Self::invalid_response("invalid answer: it is empty; check the address")
    }

    /// A response that breaks the protocol.
    pub(super) fn invalid_response(message: &str) -> Self {
        Self { code: Code::Internal, ..Self::local(message.to_owned()) }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::from_status(&status)
    }
}

impl From<tonic_types::Status> for Failure {
    fn from(error: tonic_types::Status) -> Self {
        let code = Code::from_i32(error.code);
        let message = error.message.clone();
        let details = prost::Message::encode_to_vec(&error).into();
        Self::from_status(&Status::with_details(code, message, details))
    }
}

/// Writes reason, message, wait and request ID on one line.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{reason}: {}", self.message)?,
            None => f.write_str(&self.message)?,
        }
        if let Some(wait) = self.retry_after {
            write!(f, " (retry in {:.1} s)", wait.as_secs_f64())?;
        }
        match &self.request_id {
            Some(id) => write!(f, " [request {id}]"),
            None => Ok(()),
        }
    }
}

impl Error for Failure {}
