//! A failed call, as far as people and exit codes need it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt as _;

/// Why there is no answer, or what the broker's error says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The status code.
    pub code: Code,
    /// The machine-readable reason, if the broker gave one.
    pub reason: Option<String>,
    /// The registry that it is about, if the broker named one.
    pub registry: Option<String>,
    /// What happened, and what to do.
    pub message: String,
    /// The id that the broker's logs carry.
    pub request_id: Option<String>,
    /// How long to wait before the next try, where waiting helps.
    pub retry_after: Option<Duration>,
    /// Whether the connection broke, or came to its age, under the call: over a new one it may go well at once.
    pub broke: bool,
}

impl Failure {
    pub(super) fn from_status(status: &Status) -> Self {
        if status.code() == Code::Cancelled && status.message() == TimeoutExpired(()).to_string() {
            return Self::late();
        }
        if let Some(cause) = status.source() {
            return Self::cut_off(cause);
        }
        let details = status.get_error_details();
        let request_id = details.request_info().map(|info| info.request_id.clone());
        let info = details.error_info();
        Self {
            code: status.code(),
            reason: info.map(|info| info.reason.clone()),
            registry: info.and_then(|info| info.metadata.get("registry").cloned()),
            message: status.message().to_owned(),
            request_id,
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            // tonic says so of a call that met its connection's end and was not sent; a broker never does.
            broke: status.code() == Code::Cancelled,
        }
    }

    pub(super) fn unreachable(problems: &[String]) -> Self {
        if let Some(problem) =
            problems.iter().find(|problem| problem.starts_with("unix:") && problem.contains("Permission denied"))
        {
            let message = format!("{problem}; ask those who run the broker to put you into the socket's group");
            return Self { code: Code::Unavailable, ..Self::local(message) };
        }
        let message = format!(
            "no broker answers at {}; start one with `ecr-broker serve`, or name its address with --address, ECR_BROKER_ADDRESS or client.toml",
            problems.join(", nor at ")
        );
        Self { code: Code::Unavailable, ..Self::local(message) }
    }

    /// The client's own time limit. tonic calls it CANCELLED, as if the caller had left.
    pub(super) fn late() -> Self {
        let message = "no answer within the time limit; allow more with --timeout or ECR_BROKER_TIMEOUT".to_owned();
        Self { code: Code::DeadlineExceeded, ..Self::local(message) }
    }

    /// The connection went away under the call. A status that a server sent has no cause of this kind.
    fn cut_off(cause: &(dyn Error + 'static)) -> Self {
        let message = format!("the connection to the broker broke: {}", chain(cause));
        Self { code: Code::Unavailable, broke: true, ..Self::local(message) }
    }

    /// A fault on the client's own side.
    pub(super) fn local(message: String) -> Self {
        Self {
            code: Code::Unknown,
            reason: None,
            registry: None,
            message,
            request_id: None,
            retry_after: None,
            broke: false,
        }
    }

    /// Something on this host stands in the way.
    pub(crate) fn of_this_host(error: &std::io::Error) -> Self {
        Self::local(error.to_string())
    }

    /// The broker answered with fewer results than there were questions.
    pub(crate) fn empty() -> Self {
        Self::broken("the broker's answer is empty")
    }

    /// An answer that no broker gives.
    pub(super) fn broken(message: &str) -> Self {
        Self { code: Code::Internal, ..Self::local(message.to_owned()) }
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

/// One line.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{reason}: {}", self.message)?,
            None => f.write_str(&self.message)?,
        }
        if let Some(wait) = self.retry_after {
            write!(f, " (try again in {:.1} s)", wait.as_secs_f64())?;
        }
        match &self.request_id {
            Some(id) => write!(f, " [request {id}]"),
            None => Ok(()),
        }
    }
}

impl Error for Failure {}

/// An error and its causes, each once; tonic says "transport error" and hides the reason behind it.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !texts.contains(&text) && text != "transport error" {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}
