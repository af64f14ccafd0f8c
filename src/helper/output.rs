//! Output of a helper: stdout for the calling program, stderr for people, and the exit code.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use serde::de::IgnoredAny;

use crate::quoted::Visible;

/// Output and exit code. `stdout` may hold a password: it goes to the calling program and nowhere else.
pub struct Output {
    /// Answer to the calling program.
    pub stdout: String,
    /// Note to people.
    pub stderr: String,
    /// Whether the exit code is 0; otherwise it is 1.
    pub success: bool,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("success", &self.success).finish_non_exhaustive()
    }
}

impl Output {
    /// Answers a person who asks a helper for its help or version; none for an action of a tool.
    #[must_use]
    pub fn for_person(program: &str, action: &str, help: &str) -> Option<Self> {
        match action {
            "--help" | "-h" => Some(Self::ok(help)),
            // Amazon's helper has `-v`.
            "version" | "--version" | "-v" => {
                Some(Self::ok(format!("{program} (ecr-broker) {}\n", env!("CARGO_PKG_VERSION"))))
            }
            _ => None,
        }
    }

    pub(super) fn ok(stdout: impl Into<String>) -> Self {
        Self { stdout: stdout.into(), stderr: String::new(), success: true }
    }

    pub(super) fn failed(stdout: impl Into<String>) -> Self {
        Self { stdout: stdout.into(), stderr: String::new(), success: false }
    }

    pub(super) fn with_note(self, stderr: impl Into<String>) -> Self {
        Self { stderr: stderr.into(), ..self }
    }

    /// Adds to the note.
    pub(super) fn and_note(self, more: &str) -> Self {
        let separator = if self.stderr.is_empty() || more.is_empty() { "" } else { "; " };
        Self { stderr: self.stderr + separator + more, ..self }
    }

    /// Prints both streams and returns the exit code.
    #[must_use]
    pub fn print(&self) -> ExitCode {
        if !self.stderr.is_empty() {
            let _ = writeln!(std::io::stderr(), "ecr-broker: {}", Visible(&self.stderr.replace('\n', " ")));
        }
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(self.stdout.as_bytes()).and_then(|()| stdout.flush());
        if self.success && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Returns the message of a failed program on one line, unless it has none or its text may hold a secret.
pub(super) fn failure_message(stdout: &str) -> Option<String> {
    let may_hold_secret = stdout.contains("Secret") || serde_json::from_str::<IgnoredAny>(stdout).is_ok();
    Some(one_line(stdout)).filter(|message| !message.is_empty() && !may_hold_secret)
}

/// Returns a text on one line, for a protocol whose messages are lines that people read.
pub(super) fn one_line(text: &str) -> String {
    Visible(&text.split_whitespace().collect::<Vec<_>>().join(" ")).to_string()
}
