//! Configuration of a helper.

use super::delegate::Delegate;
use super::fallback::Fallback;
use crate::client::{ConfigError, PartialConfig, Paths, Settings};

/// Complete configuration of a helper.
#[derive(Debug)]
pub struct Setup {
    pub(super) settings: Settings,
    pub(super) profile: String,
    pub(super) delegate: Option<Delegate>,
    pub(super) fallback: Option<Fallback>,
}

impl Setup {
    /// Fills the gaps of a configuration from the files.
    ///
    /// # Errors
    /// Returns an error if a file or the merged configuration is invalid.
    pub fn new(config: PartialConfig, paths: &Paths) -> Result<Self, ConfigError> {
        let config = config.or(paths.files()?);
        let delegate = config.delegate.as_deref().map(Delegate::from);
        let (settings, profile) = config.settings(paths)?;
        Ok(Self { settings, profile, delegate, fallback: None })
    }

    /// Reads the environment and the files, for a program without flags.
    ///
    /// # Errors
    /// Returns an error if a variable, a file or the merged configuration is invalid.
    pub fn from_environment() -> Result<Self, ConfigError> {
        Self::new(PartialConfig::from_environment()?, &Paths::from_environment())
    }

    /// Sets the command of the same protocol to run when no broker answers.
    #[must_use]
    pub fn with_fallback(self, command: Option<String>) -> Self {
        Self { fallback: command.map(Fallback), ..self }
    }

    /// Authenticates with this bearer token instead of the configured one.
    pub(super) fn with_token(mut self, token: String) -> Self {
        self.settings.token = Some(token.into());
        self
    }
}
