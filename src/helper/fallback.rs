//! Fallback program of the same protocol, such as Amazon's helper. It is needed to pull the broker's own image, too.

use std::time::Duration;

use super::output::{Output, failure_message};
use super::subprocess::{TimeLimit, run};

/// The setting that names the time limit.
const LIMIT_SETTING: &str = "fallback_timeout";

/// A command, and the time that it has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fallback<'a> {
    /// Program and arguments, separated by spaces.
    pub(super) command: &'a str,
    pub(super) limit: Duration,
}

/// Why a fallback has no answer.
#[derive(Debug)]
pub(super) struct FallbackProblem {
    pub(super) text: String,
    /// Whether the program ran to its end and failed; otherwise it is missing, hangs, or runs already.
    pub(super) has_failed: bool,
}

impl Fallback<'_> {
    /// Runs the program with these last arguments.
    pub(super) fn run(&self, arguments: &[&str], request: &str) -> Result<Output, FallbackProblem> {
        let mut words = self.command.split_whitespace();
        let program = words.next().unwrap_or_default();
        let arguments: Vec<_> = words.chain(arguments.iter().copied()).collect();
        let limit = TimeLimit { duration: self.limit, setting: LIMIT_SETTING };
        match run(program, &arguments, request, limit) {
            Ok(output) if output.success => Ok(output),
            Ok(output) => {
                let message = failure_message(&output.stdout).map(|message| format!(": {message}"));
                let text = format!("the fallback {program} failed{}", message.unwrap_or_default());
                Err(FallbackProblem { text, has_failed: true })
            }
            Err(error) => {
                Err(FallbackProblem { text: format!("the fallback {program} failed: {error}"), has_failed: false })
            }
        }
    }
}
