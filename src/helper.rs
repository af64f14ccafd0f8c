//! Other programs' protocols for asking who may pull: a helper reads one question and prints one answer.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use data_encoding::BASE64;

use crate::client::{ConfigError, PartialConfig, Paths, Settings};

pub mod bazel;
mod delegate;
pub mod docker;
mod fallback;
pub mod json_file;
pub mod kubelet;

/// No question of any of these programs is longer.
const LONGEST_QUESTION: u64 = 1024 * 1024;

/// What a helper was told, ready to use.
#[derive(Debug)]
pub struct Setup {
    settings: Settings,
    profile: String,
    next: Option<delegate::Next>,
    fallback: Option<fallback::Fallback>,
}

/// What a helper says, and how it ends. What it says is printed for whoever asked and nowhere else: it may be a password.
pub struct Reply {
    /// For the program that asked.
    pub stdout: String,
    /// For people.
    pub stderr: String,
    /// Exit code 0, or 1.
    pub well: bool,
}

impl Setup {
    /// By what was given, and the files where that says nothing.
    ///
    /// # Errors
    /// Where it cannot be used.
    pub fn new(given: PartialConfig, home: &Paths) -> Result<Self, ConfigError> {
        let given = given.or(home.files()?);
        let next = given.delegate.as_deref().map(delegate::Next::from);
        let (settings, profile) = given.settings(home)?;
        Ok(Self { settings, profile, next, fallback: None })
    }

    /// The same, with a command of the same protocol to fall back on where no broker answers.
    #[must_use]
    pub fn falling_back_on(self, command: Option<String>) -> Self {
        Self { fallback: command.map(fallback::Fallback), ..self }
    }

    /// By the environment and the files alone, for a program that has no flags.
    ///
    /// # Errors
    /// Where what they say cannot be used.
    pub fn from_environment() -> Result<Self, ConfigError> {
        #[expect(clippy::disallowed_methods, reason = "a helper has no clap, which would take as long as all the rest")]
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::new(PartialConfig::from_variables(variable)?, &Paths::from_variables(variable))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("well", &self.well).finish_non_exhaustive()
    }
}

impl Reply {
    fn good(stdout: String) -> Self {
        Self { stdout, stderr: String::new(), well: true }
    }

    fn bad(stdout: impl Into<String>) -> Self {
        Self { stdout: stdout.into(), stderr: String::new(), well: false }
    }

    fn noting(self, stderr: impl Into<String>) -> Self {
        Self { stderr: stderr.into(), ..self }
    }

    /// Says it.
    #[must_use]
    pub fn say(&self) -> ExitCode {
        if !self.stderr.is_empty() {
            let _ = writeln!(std::io::stderr(), "ecr-broker: {}", self.stderr.replace('\n', " "));
        }
        let mut stdout = std::io::stdout().lock();
        let said = stdout.write_all(self.stdout.as_bytes()).and_then(|()| stdout.flush());
        if self.well && said.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Where JSON is not what it should be. serde's own text may repeat what stands there, and that may be a secret.
fn place(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

/// As registries' own clients write a login down.
#[must_use]
pub fn basic(username: &str, password: &str) -> String {
    BASE64.encode(format!("{username}:{password}").as_bytes())
}

/// All of stdin, as text.
///
/// # Errors
/// Where it cannot be read, or is no text.
pub fn question() -> std::io::Result<String> {
    let mut text = String::new();
    std::io::stdin().lock().take(LONGEST_QUESTION).read_to_string(&mut text)?;
    Ok(text)
}
