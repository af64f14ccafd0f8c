//! Fallback program of the same protocol, which runs when no broker answers. It is needed to pull the broker's own image.

use std::time::Duration;

use tonic::Code;

use super::output::{Output, failure_message};
use super::subprocess::run;
use crate::client::Failure;

/// Program and arguments, separated by spaces.
#[derive(Debug)]
pub(super) struct Fallback(pub(super) String);

impl Fallback {
    /// Returns whether the fallback may run after a failure. It must not run after an answer of the broker: on "retry later", every
    /// node would call AWS itself.
    pub(super) fn applies_to(failure: &Failure) -> bool {
        match failure.reason.as_deref() {
            // UNKNOWN is a failure on this side of the connection: wrong settings, or a missing CA or token file.
            None => matches!(failure.code, Code::Unavailable | Code::DeadlineExceeded | Code::Unknown),
            Some(reason) => reason == "SHUTTING_DOWN",
        }
    }

    /// Runs the program. The error names the failure that led here and why the fallback failed too.
    pub(super) fn run(
        &self,
        arguments: &[&str],
        request: &str,
        failure: &Failure,
        limit: Duration,
    ) -> Result<Output, String> {
        let Self(command) = self;
        let mut words = command.split_whitespace();
        let program = words.next().unwrap_or_default();
        let arguments: Vec<_> = words.chain(arguments.iter().copied()).collect();
        match run(program, &arguments, request, limit) {
            Ok(output) if output.success => Ok(output.with_note(failure.to_string())),
            Ok(output) => {
                let message = failure_message(&output.stdout).map(|message| format!(": {message}"));
                Err(format!("{failure}; the fallback {program} failed too{}", message.unwrap_or_default()))
            }
            Err(error) => Err(format!("{failure}; the fallback {program} failed: {error}")),
        }
    }
}
