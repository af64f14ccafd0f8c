//! The settings that are in force, and whether what they name can be used.

use std::time::Duration;

use super::files::{self, Held};
use super::origin::Origin;
use super::report::{Finding, Outcome};
use super::request::Request;
use super::time::{now, span};
use super::token;
use crate::client::{ConfigError, PartialConfig, Paths, Settings};
use crate::exit_code::Exit;

/// A client's settings, with where each came from.
#[derive(Debug)]
pub(super) struct EffectiveSettings {
    pub(super) settings: Settings,
    pub(super) profile: String,
    pub(super) home: Paths,
    /// What every other command waits.
    pub(super) usual_timeout: Duration,
    origins: Vec<(&'static str, Origin)>,
}

/// Whether a setting is among those that were given.
type IsGiven = fn(&PartialConfig) -> bool;

const SETTINGS: [(&str, IsGiven); 7] = [
    ("address", |given| given.address.as_ref().is_some_and(|address| !address.to_string().is_empty())),
    ("token_file", |given| given.token_file.is_some()),
    ("profile", |given| given.profile.is_some()),
    ("tls_ca", |given| given.tls_ca.is_some()),
    ("tls_cert", |given| given.tls_cert.is_some()),
    ("tls_key", |given| given.tls_key.is_some()),
    ("timeout", |given| given.timeout.is_some()),
];

pub(super) fn check(request: &Request) -> Outcome<EffectiveSettings> {
    let effective = match EffectiveSettings::resolve(request) {
        Ok(effective) => effective,
        Err(error) => {
            let fix = match &error {
                ConfigError::File { path, .. } => {
                    format!("correct {}; its keys are the flags' names, as in docs/clients.md", path.display())
                }
                ConfigError::Variable { name, .. } => format!("correct {name}, or unset it"),
                ConfigError::HalfAnIdentity { missing, .. } => {
                    let missing = missing.replace('_', "-");
                    format!("give --{missing} too, or the variable or key of that name")
                }
            };
            return (Finding::fail(Exit::Failure, error.to_string()).fix(fix), None);
        }
    };
    let finding = effective.noted();
    match effective.check_files() {
        Ok(notes) => (notes.into_iter().fold(finding, Finding::note), Some(effective)),
        Err(broken) => (broken, None),
    }
}

impl EffectiveSettings {
    fn resolve(request: &Request) -> Result<Self, ConfigError> {
        let (given, home) = (request.given.clone(), request.home.clone());
        let files = home.each_file()?;
        let origin = |name, has: IsGiven| {
            let file = || files.iter().find(|(_, given)| has(given)).map(|(path, _)| Origin::File(path.clone()));
            if has(&given) { request.origin(name) } else { file().unwrap_or(Origin::Default) }
        };
        let origins = SETTINGS.map(|(name, has)| (name, origin(name, has))).to_vec();
        let all = files.into_iter().fold(given, |all, (_, given)| all.or(given));
        let (settings, profile) = all.settings(&home)?;
        Ok(Self { usual_timeout: settings.timeout, settings, profile, home, origins })
    }

    pub(super) fn origin(&self, name: &str) -> &Origin {
        self.origins.iter().find(|(known, _)| *known == name).map_or(&Origin::Default, |(_, origin)| origin)
    }

    fn noted(&self) -> Finding {
        let addresses: Vec<_> = self.settings.addresses.iter().map(ToString::to_string).collect();
        let found = format!("address {} ({})", addresses.join(", then "), self.origin("address"));
        let named = |name: &str, value: &str| format!("{name} {value} ({})", self.origin(name));
        let mut finding = Finding::ok(found);
        if !self.profile.is_empty() {
            finding = finding.note(named("profile", &self.profile));
        }
        if self.origin("timeout") != &Origin::Default {
            finding = finding.note(named("timeout", &span(self.usual_timeout)));
        }
        finding
    }

    /// What each file is; the first that is broken ends it.
    fn check_files(&self) -> Result<Vec<String>, Finding> {
        let mut notes = Vec::new();
        let mut note = |name: &str, path: &std::path::Path, held: Held| -> Result<(), Finding> {
            let origin = self.origin(name);
            let broken = |broken: files::Broken| {
                let found = format!("{name} {} ({origin}): {}", path.display(), broken.problem);
                Finding::fail(broken.exit, found).fix(broken.fix)
            };
            notes.push(format!("{name} {} ({origin}): {}", path.display(), held.map_err(broken)?));
            Ok(())
        };
        if let Some(path) = &self.settings.token_file {
            note("token_file", path, token::look(path, now()))?;
        }
        if let Some(path) = &self.settings.tls_ca {
            note("tls_ca", path, files::authorities(path, now()))?;
        }
        if let Some((certificate, key)) = &self.settings.tls_identity {
            note("tls_cert", certificate, files::certificate(certificate, now()))?;
            note("tls_key", key, files::key(key))?;
        }
        Ok(notes)
    }
}
