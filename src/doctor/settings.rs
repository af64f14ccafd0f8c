//! Step `settings`: resolves the client's settings and checks the files that they name.

use std::path::Path;
use std::time::Duration;

use super::files::{self, FileCheck, FileProblem};
use super::finding::{Finding, StepResult};
use super::origin::Origin;
use super::problem::Problem;
use super::request::Request;
use super::time_text::{duration, now};
use super::token_file;
use crate::client::token::{SourceError, TokenSource, Tokens};
use crate::client::{ConfigError, PartialConfig, Query, Settings};
use crate::environment::CLIENT_SETTINGS;

/// The settings in effect, with the origin of each.
#[derive(Debug)]
pub(super) struct EffectiveSettings {
    pub(super) settings: Settings,
    pub(super) profile: String,
    /// Time limit of every other command.
    pub(super) command_timeout: Duration,
    origins: Vec<(&'static str, Origin)>,
}

type IsSet = fn(&PartialConfig) -> bool;

const SETTINGS: [(&str, IsSet); CLIENT_SETTINGS.len()] = [
    ("address", |config| config.address.as_ref().is_some_and(|address| !address.to_string().is_empty())),
    ("token_source", |config| config.token_source.is_some()),
    ("token_file", |config| config.token_file.is_some()),
    ("token_exec", |config| config.token_exec.is_some()),
    ("token_variable", |config| config.token_variable.is_some()),
    ("audience", |config| config.audience.is_some()),
    ("profile", |config| config.profile.is_some()),
    ("tls_ca", |config| config.tls_ca.is_some()),
    ("tls_source", |config| config.tls_source.is_some()),
    ("tls_cert", |config| config.tls_cert.is_some()),
    ("tls_key", |config| config.tls_key.is_some()),
    ("timeout", |config| config.timeout.is_some()),
];

pub(super) fn check(request: &Request) -> StepResult<EffectiveSettings> {
    let effective = match EffectiveSettings::resolve(request) {
        Ok(effective) => effective,
        Err(error) => return (Finding::fail(Problem::SettingsInvalid, error.to_string()).fix(fix(&error)), None),
    };
    match effective.check_files() {
        Ok(notes) => (notes.into_iter().fold(effective.finding(), Finding::note), Some(effective)),
        Err(finding) => (finding, None),
    }
}

fn fix(error: &ConfigError) -> String {
    match error {
        ConfigError::File { path, .. } => {
            format!("correct {}: its keys are the names of the flags, with underscores", path.display())
        }
        ConfigError::Variable { name, .. } => format!("correct or unset {name}"),
        ConfigError::IncompleteIdentity { missing, .. }
        | ConfigError::TokenSource(SourceError::Incomplete { missing, .. }) => {
            format!("set --{} too, or the variable or key of that name", missing.replace('_', "-"))
        }
        ConfigError::TokenSource(SourceError::Ambiguous) => "remove one of them, or set --token-source".to_owned(),
    }
}

impl EffectiveSettings {
    fn resolve(request: &Request) -> Result<Self, ConfigError> {
        let (given, paths) = (request.settings.clone(), &request.paths);
        let files = paths.each_file()?;
        let origin = |name, is_set: IsSet| {
            let file = || files.iter().find(|(_, config)| is_set(config)).map(|(path, _)| Origin::File(path.clone()));
            if is_set(&given) { request.origin(name) } else { file().unwrap_or(Origin::Default) }
        };
        let origins = SETTINGS.map(|(name, is_set)| (name, origin(name, is_set))).to_vec();
        let merged = files.into_iter().fold(given, |merged, (_, config)| merged.or(config));
        let (settings, profile) = merged.settings(paths)?;
        Ok(Self { command_timeout: settings.timeout, settings, profile, origins })
    }

    /// Returns the query for a registry, with the profile of the settings.
    pub(super) fn query(&self, registry: &str) -> Query {
        Query { registry: registry.to_owned(), profile: self.profile.clone(), ..Query::default() }
    }

    pub(super) fn origin(&self, name: &str) -> &Origin {
        self.origins.iter().find(|(known, _)| *known == name).map_or(&Origin::Default, |(_, origin)| origin)
    }

    fn finding(&self) -> Finding {
        let addresses: Vec<_> = self.settings.addresses.iter().map(ToString::to_string).collect();
        let with_origin = |name: &str, value: &str| format!("{name} {value} ({})", self.origin(name));
        let mut finding = Finding::ok(with_origin("address", &addresses.join(", then ")));
        if !self.profile.is_empty() {
            finding = finding.note(with_origin("profile", &self.profile));
        }
        if self.origin("timeout") != &Origin::Default {
            finding = finding.note(with_origin("timeout", &duration(self.command_timeout)));
        }
        finding
    }

    /// Returns a note for each file, or the finding for the first that cannot be used.
    fn check_files(&self) -> Result<Vec<String>, Finding> {
        let Settings { tokens, tls_ca, tls_identity, .. } = &self.settings;
        let mut notes = Vec::new();
        if let Some(tokens) = tokens {
            notes.push(self.token_note(tokens)?);
        }
        if let Some(path) = tls_ca {
            notes.push(self.file_note("tls_ca", path, files::check_authorities(path, now()))?);
        }
        if self.settings.has_x509_svid {
            notes.push(format!("tls_source spiffe ({}): a certificate for each connection", self.origin("tls_source")));
        }
        if let Some((certificate, key)) = tls_identity {
            notes.push(self.file_note("tls_cert", certificate, files::check_certificate(certificate, now()))?);
            notes.push(self.file_note("tls_key", key, files::check_key(key))?);
        }
        Ok(notes)
    }

    /// Returns a note about the token source. Only a file is checked here: the first call asks any other source.
    fn token_note(&self, tokens: &Tokens) -> Result<String, Finding> {
        match tokens.source().present() {
            Some(TokenSource::File(path) | TokenSource::Kubernetes(path)) => {
                self.file_note("token_file", path, token_file::check(path, now()))
            }
            Some(source) => {
                let set = if matches!(source, TokenSource::Exec(_)) { "token_exec" } else { "token_source" };
                Ok(format!("{source} ({}), audience {}", self.origin(set), tokens.audience()))
            }
            None => Ok(format!("token_source auto ({}) finds none: calls have no token", self.origin("token_source"))),
        }
    }

    fn file_note(&self, setting: &str, path: &Path, checked: FileCheck) -> Result<String, Finding> {
        let file = format!("{setting} {} ({})", path.display(), self.origin(setting));
        match checked {
            Ok(content) => Ok(format!("{file}: {content}")),
            Err(FileProblem { problem, facts, fix }) => {
                let separator = if facts.is_empty() { "" } else { ": " };
                Err(Finding::fail(problem, format!("{file}{separator}{facts}")).fix(fix))
            }
        }
    }
}
