//! Blank variables of libraries: the process replaces itself by one without them.
//!
//! The AWS SDK, OpenTelemetry, tokio, the proxy support, socket activation and the loader of root certificates read the environment
//! themselves, and each treats a blank variable in its own way: the SDK would read keys from `./.aws`, or fail over a token file
//! without a name. No safe call changes the environment of a running process, but `exec` starts the same program with another one.
//! It keeps the process ID, open files and activated sockets.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::Command;

use super::{all, is_blank};

#[cfg_attr(unix, path = "restart/unix.rs")]
#[cfg_attr(windows, path = "restart/windows.rs")]
mod system;

/// The program cannot be started again.
#[derive(Debug, thiserror::Error)]
#[error("cannot start again without blank variables: {cause}; unset {}", names.join(", "))]
pub struct RestartError {
    names: Vec<String>,
    cause: io::Error,
}

/// Replaces the process by the same program without the blank variables that libraries read. Returns at once if there are none, as in
/// the new process. Call it first: threads do not survive it.
///
/// # Errors
/// The program cannot be started again.
pub fn restart_without_blank_variables() -> Result<(), RestartError> {
    let blank = all().filter(|(name, value)| is_blank(value) && is_read_by_libraries(name));
    let blank: Vec<_> = blank.map(|(name, _)| name).collect();
    if blank.is_empty() {
        return Ok(());
    }
    let names = || blank.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    Err(RestartError { cause: restart_without(&blank), names: names() })
}

/// Returns only if the program cannot be started again.
fn restart_without(variables: &[OsString]) -> io::Error {
    match same_command() {
        Ok(mut command) => {
            system::replace(variables.iter().fold(&mut command, |command, name| command.env_remove(name)))
        }
        Err(error) => error,
    }
}

/// Returns the command that starts this program again, with its name and arguments.
///
/// # Errors
/// The system does not tell the program's file.
pub fn same_command() -> io::Result<Command> {
    let mut arguments = std::env::args_os();
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(name) = arguments.next() {
        system::set_name(&mut command, &name);
    }
    command.args(arguments);
    Ok(command)
}

/// Returns whether a library reads the variable. Others stay as they are: hooks and helpers that this program runs inherit them.
fn is_read_by_libraries(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_uppercase();
    let starts = ["AWS_", "LISTEN_", "OTEL_", "SSL_CERT_", "TOKIO_"];
    name == "HOME" || name.ends_with("_PROXY") || starts.iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_libraries_are_known_by_their_names() {
        for name in [
            "AWS_REGION",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "HTTPS_PROXY",
            "no_proxy",
            "HOME",
            "SSL_CERT_FILE",
            "TOKIO_WORKER_THREADS",
            "LISTEN_PID",
        ] {
            assert!(is_read_by_libraries(OsStr::new(name)), "{name}");
        }
        for name in ["ECR_BROKER_ADDRESS", "CI_COMMIT_TAG", "DOCKER_CONFIG", "MY_HOME", "PROXY"] {
            assert!(!is_read_by_libraries(OsStr::new(name)), "{name}");
        }
    }
}
