//! Configuration of a helper.

use std::ffi::OsString;
use std::time::Duration;

use super::delegate::Delegate;
use super::fallback::Fallback;
use super::output::Output;
use crate::adoption::Observation;
use crate::client::adoption::{Adoption, Protocol};
use crate::client::{ConfigError, DEFAULT_TIMEOUT, Failure, PartialConfig, Paths, Settings};
use crate::environment;

/// Longest wait for a broker that is not there. podman runs every helper twice per pull, also for registries of others.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Complete configuration of a helper.
///
/// A mistake in the settings is kept, not returned: it concerns only the registries of the broker, and docker runs the helper for
/// every registry.
#[derive(Debug)]
pub struct Setup {
    broker: Result<Broker, String>,
    pub(super) delegate: Option<Delegate>,
    /// Time limit of another program: the one of the broker's answer, even if the settings have a mistake elsewhere.
    pub(super) time_limit: Duration,
    /// The fallback, when it answers, and the mode.
    pub(super) adoption: Adoption,
    /// What this process observes instead of an answer to a tool.
    pub(super) observation: Option<Observation>,
    /// Fallback command of a flag, which precedes that of the files.
    fallback_exec: Option<String>,
}

/// The broker to ask, and the profile to request.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) settings: Settings,
    pub(super) profile: String,
}

impl Setup {
    /// Reads the environment and the files, for a program without flags.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::from_flags(|_| None)
    }

    /// Reads the flags, the environment and the files. `flag` returns the value of a flag by the key of its setting.
    #[must_use]
    pub fn from_flags(flag: impl Fn(&str) -> Option<OsString>) -> Self {
        let paths = Paths::from_environment();
        let broker = PartialConfig::from_flags_or_environment(flag).and_then(|config| Broker::new(config, &paths));
        let broker = broker.map_err(|mistake| mistake.to_string());
        let by_variable = environment::variable(environment::DELEGATE);
        let by_variable = by_variable.map(|text| Delegate::named_by(environment::DELEGATE, &text.to_string_lossy()));
        let delegate = by_variable.or_else(|| delegate_of_files(&paths));
        let configured = broker.as_ref().ok().map(|broker| broker.settings.timeout).or_else(|| paths.time_limit());
        let (time_limit, adoption) = (configured.unwrap_or(DEFAULT_TIMEOUT), paths.adoption());
        let observation = Observation::of_environment();
        Self { broker, delegate, time_limit, adoption, observation, fallback_exec: None }
    }

    /// Notes a mistake that prevents asking the broker, if there is one.
    #[must_use]
    pub fn with_mistake(self, mistake: Option<String>) -> Self {
        Self { broker: mistake.map_or(self.broker, Err), ..self }
    }

    /// Uses this delegate, if there is one, instead of the one in the files.
    #[must_use]
    pub fn with_delegate(self, text: Option<&str>) -> Self {
        let delegate = text.map(|text| Delegate::named_by("--next", text)).or(self.delegate);
        Self { delegate, ..self }
    }

    /// Uses this fallback command, if there is one, instead of that of the files.
    #[must_use]
    pub fn with_fallback(self, fallback_exec: Option<String>) -> Self {
        Self { fallback_exec, ..self }
    }

    /// Returns the fallback of a protocol.
    pub(super) fn fallback(&self, protocol: Protocol) -> Option<Fallback<'_>> {
        let command = self.fallback_exec.as_deref().or_else(|| self.adoption.command(protocol))?;
        Some(Fallback { command, limit: self.adoption.fallback_timeout() })
    }

    /// Authenticates with this bearer token instead of the configured one.
    pub(super) fn with_token(mut self, token: String) -> Self {
        if let Ok(broker) = &mut self.broker {
            broker.settings.token = Some(token.into());
        }
        self
    }

    /// Returns the broker to ask.
    ///
    /// # Errors
    /// Returns the mistake in the settings.
    pub(super) fn broker(&self) -> Result<&Broker, Failure> {
        self.broker.as_ref().map_err(|mistake| Failure::local(mistake.clone()))
    }

    /// Returns whether a text has the mistake in the settings.
    pub(super) fn is_mistake(&self, text: &str) -> bool {
        self.broker.as_ref().err().is_some_and(|mistake| text.contains(mistake.as_str()))
    }

    /// Notes a mistake in the settings, unless the output says it already.
    pub(super) fn note_mistake(&self, output: Output) -> Output {
        match &self.broker {
            Err(mistake) if ![&output.stderr, &output.stdout].iter().any(|text| self.is_mistake(text)) => {
                output.and_note(mistake)
            }
            _ => output,
        }
    }
}

fn delegate_of_files(paths: &Paths) -> Option<Delegate> {
    match paths.delegate() {
        Ok(found) => found.map(|(file, text)| Delegate::named_in(&file, &text, paths.home.as_deref())),
        Err(mistake) => Some(Delegate::Invalid(format!("{mistake}; correct the file, which may set next"))),
    }
}

impl Broker {
    fn new(config: PartialConfig, paths: &Paths) -> Result<Self, ConfigError> {
        let (settings, profile) = config.or(paths.files()?).settings(paths)?;
        let settings = settings.without_default_loopback();
        Ok(Self { settings: Settings { connect_timeout: CONNECT_TIMEOUT, ..settings }, profile })
    }
}
