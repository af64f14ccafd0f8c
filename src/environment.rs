//! The only reader of the process's environment. A variable that is set and blank counts as unset.
//!
//! Templates of compose files, CI jobs and Kubernetes set variables to empty texts where they have no value. White space alone
//! counts as blank: it is what is left of an empty file. Other values are never trimmed; their readers refuse what they cannot use.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

pub use self::restart::{restart_without_blank_variables, same_command};
pub use self::worker_threads::{WORKER_THREADS, check_worker_threads, worker_threads_problem};

mod restart;
mod worker_threads;

/// Prefix of the variables of broker and client.
pub const PREFIX: &str = "ECR_BROKER_";
/// The user's home directory.
pub const HOME: &str = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
/// The broker's configuration file.
pub const CONFIG_FILE: &str = "ECR_BROKER_CONFIG";
/// Set for a credential helper that another one runs. It stops helpers that run each other in a loop.
pub const NESTED_HELPER: &str = "ECR_BROKER_HELPER";
/// Set for the process that completes an observation of a helper, in shadow and canary mode.
pub const OBSERVATION: &str = "ECR_BROKER_OBSERVATION";
/// The delegate of the docker helper, as `next` in `client.toml`.
pub const DELEGATE: &str = "ECR_BROKER_NEXT";
/// The problem of a variable that is not text.
pub const NOT_UTF8: &str = "is not valid UTF-8; correct or unset it";
/// The settings of a client that have a flag and a variable, by their keys in `client.toml`.
pub const CLIENT_SETTINGS: [&str; 12] = [
    "address",
    "token_source",
    "token_file",
    "token_exec",
    "token_variable",
    "audience",
    "profile",
    "tls_ca",
    "tls_source",
    "tls_cert",
    "tls_key",
    "timeout",
];
/// The ID token of a GitLab job, unless the client's setting `token_variable` names another variable.
pub const ID_TOKEN: &str = "ECR_BROKER_ID_TOKEN";

/// Returns the variable of a client's setting, such as `ECR_BROKER_TOKEN_FILE`.
#[must_use]
pub fn client_variable(setting: &str) -> String {
    PREFIX.to_owned() + &setting.to_ascii_uppercase()
}

/// Returns whether a variable with our prefix is not a setting of the broker: a client, a helper or a command reads it.
#[must_use]
pub fn is_other_programs(variable: &str) -> bool {
    [CONFIG_FILE, NESTED_HELPER, OBSERVATION, DELEGATE, ID_TOKEN].contains(&variable)
        || CLIENT_SETTINGS.iter().any(|setting| client_variable(setting) == variable)
}

/// Returns a variable, unless it is unset or blank.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !is_blank(value))
}

/// Returns a variable that names a file or directory, unless it is unset or blank.
#[must_use]
pub fn path(name: &str) -> Option<PathBuf> {
    variable(name).map(PathBuf::from)
}

/// Returns all variables that are not blank, except those of [`not_utf8`].
#[must_use]
pub fn variables() -> Vec<(String, String)> {
    let texts = all().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    texts.filter(|(_, value)| !is_blank(OsStr::new(value))).collect()
}

/// Returns the names of variables that the broker or its libraries read as texts, and that are not UTF-8. Libraries would ignore them
/// without an error, and call AWS without a proxy that was meant.
#[must_use]
pub fn not_utf8() -> Vec<String> {
    let not_texts = all().filter(|(_, value)| value.to_str().is_none());
    not_texts.filter_map(|(name, _)| name.into_string().ok()).filter(|name| is_read_as_text(name)).collect()
}

/// Returns whether the broker or its libraries read a variable as text. Variables that are only paths need not be UTF-8.
fn is_read_as_text(name: &str) -> bool {
    let of_broker = name.starts_with(PREFIX) && !is_other_programs(name);
    let starts = ["AWS_", "OTEL_", "TOKIO_"];
    let is_proxy = name.to_ascii_uppercase().ends_with("_PROXY");
    of_broker || is_proxy || name == "RUST_LOG" || starts.iter().any(|start| name.starts_with(start))
}

/// Returns whether the environment allows colours on a terminal.
#[must_use]
pub fn allows_colours() -> bool {
    variable("NO_COLOR").is_none() && variable("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Returns whether a variable is set and blank.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
pub fn is_set_and_blank(name: &OsStr) -> bool {
    std::env::var_os(name).is_some_and(|value| is_blank(&value))
}

#[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
fn all() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

fn is_blank(value: &OsStr) -> bool {
    value.as_encoded_bytes().trim_ascii().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_empty_text_and_white_space_are_blank() {
        for (value, blank) in [("", true), (" ", true), ("\n", true), ("\t \r\n", true), ("0", false), (" x ", false)] {
            assert_eq!(is_blank(OsStr::new(value)), blank, "{value:?}");
        }
    }

    #[test]
    fn variables_that_must_be_text_are_known_by_their_names() {
        for name in ["ECR_BROKER_AWS_REGION", "AWS_REGION", "https_proxy", "OTEL_SERVICE_NAME", "RUST_LOG"] {
            assert!(is_read_as_text(name), "{name}");
        }
        for name in ["ECR_BROKER_TOKEN_FILE", "ECR_BROKER_CONFIG", "SSL_CERT_FILE", "HOME", "PWD"] {
            assert!(!is_read_as_text(name), "{name}");
        }
    }

    #[test]
    fn client_variables_are_the_prefix_and_the_key() {
        assert_eq!(client_variable("tls_ca"), "ECR_BROKER_TLS_CA");
        for name in ["ECR_BROKER_TIMEOUT", "ECR_BROKER_HELPER", "ECR_BROKER_CONFIG", DELEGATE, ID_TOKEN] {
            assert!(is_other_programs(name), "{name}");
        }
        assert!(!is_other_programs("ECR_BROKER_AWS_REGION"));
    }
}
