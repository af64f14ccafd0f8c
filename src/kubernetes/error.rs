//! Errors of the Kubernetes API, reduced to what messages, retries and exit codes need.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use kube::client::AuthError;
use kube::core::Status;

use crate::exit_code::Exit;

/// Most characters of a message of the API server, which a webhook may have written.
const MAX_MESSAGE: usize = 300;
/// The cause of a conflict with another field manager. Other conflicts are about the object's version.
const FIELD_CONFLICT: &str = "FieldManagerConflict";

/// A failed call. It quotes neither requests nor Secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The calls that fail for the same reason.
    pub scope: Scope,
    /// The exit code of a command.
    pub exit: Exit,
    /// The cause, as the API server or the connection names it. `Display` shortens it: before, it is searched for credentials.
    pub message: String,
    /// The wait that the API server asks for.
    pub retry_after: Option<Duration>,
}

/// The calls that fail for the same reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All: the API server cannot be reached, is overloaded or does not know the caller.
    Server,
    /// Those for this object.
    Object,
    /// Those for fields that another field manager owns.
    Fields,
    /// This one: the object has changed since it was read.
    Version,
    /// Those for an object that is not there.
    Missing,
}

impl ApiError {
    /// A failure without a response.
    pub(super) fn unreachable(message: String) -> Self {
        Self { scope: Scope::Server, exit: Exit::Unavailable, message, retry_after: None }
    }

    /// A response that cannot be read.
    pub(super) fn unreadable() -> Self {
        let message = "unreadable answer; check that the address is a Kubernetes API server".to_owned();
        Self { scope: Scope::Object, exit: Exit::Failure, message, retry_after: None }
    }

    /// A change between read and write.
    pub(super) fn changed(message: String) -> Self {
        Self { scope: Scope::Version, exit: Exit::Unavailable, message, retry_after: None }
    }

    /// Limits the failure of a write to its object. Its read was answered, and an admission webhook may hang or answer as it likes.
    pub(super) fn of_write(mut self) -> Self {
        if self.scope == Scope::Server {
            self.scope = Scope::Object;
        }
        self
    }

    /// Returns whether a later attempt may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.exit == Exit::Unavailable
    }

    fn from_status(status: &Status) -> Self {
        let details = status.details.as_ref();
        let is_field_conflict =
            details.is_some_and(|details| details.causes.iter().any(|cause| cause.reason == FIELD_CONFLICT));
        let (scope, exit) = match status.code {
            401 => (Scope::Server, Exit::Denied),
            403 => (Scope::Object, Exit::Denied),
            404 => (Scope::Missing, Exit::Failure),
            409 if is_field_conflict => (Scope::Fields, Exit::Failure),
            409 => (Scope::Version, Exit::Unavailable),
            429 | 503 => (Scope::Server, Exit::Unavailable),
            500.. => (Scope::Object, Exit::Unavailable),
            _ => (Scope::Object, Exit::Failure),
        };
        let wait = details.map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0);
        let retry_after = wait.map(|seconds| Duration::from_secs(seconds.into()));
        Self { scope, exit, message: status.message.clone(), retry_after }
    }
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) => Self::from_status(status),
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Self::unreadable(),
            kube::Error::Service(cause) => Self::unreachable(without_secrets(&**cause)),
            other => Self::unreachable(without_secrets(other)),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&short(&self.message))
    }
}

impl StdError for ApiError {}

/// Returns an error and its causes. The output of a credential plugin is left out: it has the token.
pub(super) fn without_secrets(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    let plugin = causes.filter_map(|cause| cause.downcast_ref::<AuthError>()).find_map(|cause| match cause {
        AuthError::AuthExecRun { cmd, out } => {
            Some(format!("credential plugin {cmd} of the kubeconfig failed with {}", out.status))
        }
        AuthError::AuthExecParse(_) => Some("unreadable output of the kubeconfig's credential plugin".to_owned()),
        _ => None,
    });
    plugin.unwrap_or_else(|| chain(error))
}

/// Joins an error and its causes. Most texts of kube-rs contain that of the cause.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes
        .map(ToString::to_string)
        .fold(error.to_string(), |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") })
}

fn short(message: &str) -> String {
    match message.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use serde_json::json;

    use super::*;

    #[test]
    fn cause_that_a_text_contains_is_not_repeated() {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        let read = kube::config::KubeconfigError::ReadConfig(missing, "/k".into());
        assert_eq!(chain(&read), "failed to read kubeconfig from '\"/k\"': entity not found");
    }

    fn of(status: serde_json::Value) -> ApiError {
        kube::Error::Api(Box::new(serde_json::from_value(status).unwrap())).into()
    }

    #[test]
    fn status_decides_scope_exit_code_and_wait() {
        let conflict = json!({ "causes": [{ "reason": "FieldManagerConflict", "field": ".data" }] });
        for (code, details, scope, exit) in [
            (401, json!({}), Scope::Server, Exit::Denied),
            (403, json!({}), Scope::Object, Exit::Denied),
            (404, json!({}), Scope::Missing, Exit::Failure),
            (409, conflict, Scope::Fields, Exit::Failure),
            (409, json!({}), Scope::Version, Exit::Unavailable),
            (422, json!({}), Scope::Object, Exit::Failure),
            (429, json!({}), Scope::Server, Exit::Unavailable),
            (500, json!({}), Scope::Object, Exit::Unavailable),
            (503, json!({}), Scope::Server, Exit::Unavailable),
        ] {
            let error = of(json!({ "code": code, "message": "m", "details": details }));
            assert_eq!((error.scope, error.exit, error.retry_after), (scope, exit, None), "{code}");
        }
        let busy = of(json!({ "code": 429, "details": { "retryAfterSeconds": 7 } }));
        assert_eq!(busy.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(of(json!({ "code": 403, "message": "é".repeat(1_000) })).to_string().chars().count(), 301);
    }

    #[test]
    fn output_of_a_credential_plugin_is_not_quoted() {
        let out = std::process::Output {
            status: std::process::ExitStatus::from_raw(256),
            stdout: b"{\"status\": {\"token\": \"canary\"}}".to_vec(),
            stderr: b"canary".to_vec(),
        };
        let failed = AuthError::AuthExecRun { cmd: "aws".to_owned(), out: Box::new(out) };
        let message = ApiError::from(kube::Error::Auth(failed)).message;
        assert_eq!(message, "credential plugin aws of the kubeconfig failed with exit status: 1");
    }
}
