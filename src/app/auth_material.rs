//! Authentication material: the certificates, keys and secrets whose files the configuration names.
//!
//! It is loaded separately from the configuration, so that a change of grants can be checked while a certificate is being replaced.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::api::ecr::Secret;
use crate::authn::jwt::Issuers;
use crate::authn::tls::Tls;
use crate::clock::Clock;
use crate::config::{Config, Diagnostic};
use crate::follow_file::FilesInEffect;
use crate::metrics::Registry;
use crate::source::shared_cache::key_file::KeyFile;

/// Loaded authentication material.
#[derive(Debug, Clone, Default)]
pub struct AuthMaterial {
    /// The TLS certificate and client roots of TCP listeners; none: plaintext.
    pub tls: Option<Arc<Tls>>,
    /// The trusted issuers of bearer tokens.
    pub issuers: Option<Arc<Issuers>>,
    /// The secret of the ECR API; `None` if the API is off, or if its file does not exist yet.
    pub ecr_api_secret: Option<Arc<Secret>>,
    /// The keys of the shared cache, if there is one.
    pub shared_cache_keys: Option<Arc<KeyFile>>,
}

impl AuthMaterial {
    /// Loads every file that `config` names, and reports all problems in one run.
    ///
    /// # Errors
    /// Fails with one diagnostic for each part that cannot be loaded.
    pub fn load(config: &Config, clock: &Arc<dyn Clock>) -> Result<Self, Vec<Diagnostic>> {
        let mut diagnostics = Vec::new();
        let loaded = Self {
            tls: keep(load_tls(config, clock), &mut diagnostics),
            issuers: keep(load_issuers(config, clock), &mut diagnostics),
            ecr_api_secret: keep(load_ecr_api_secret(config), &mut diagnostics),
            shared_cache_keys: keep(load_shared_cache_keys(config), &mut diagnostics),
        };
        if diagnostics.is_empty() { Ok(loaded) } else { Err(diagnostics) }
    }

    /// Returns mistakes that do not stop the broker, but its clients.
    #[must_use]
    pub fn warnings(&self) -> Vec<Diagnostic> {
        let Some(tls) = &self.tls else { return Vec::new() };
        let own = tls.certificate_mistakes().into_iter().map(|mistake| ("server.tls.certificate", mistake));
        let clients = tls.authority_mistakes().into_iter().map(|mistake| ("[authentication]", mistake));
        own.chain(clients).map(|(place, mistake)| diagnostic(place, mistake.to_string())).collect()
    }

    /// Exposes the expiry of certificates and the age of issuers' keys.
    pub(super) fn register(&self, registry: &mut Registry) {
        if let Some(tls) = &self.tls {
            tls.register(registry);
        }
        if let Some(issuers) = &self.issuers {
            issuers.register(registry);
        }
    }

    /// Starts tasks that reload the certificates and keys when their files change; SIGHUP reloads certificates and the keys of the
    /// shared cache at once.
    pub(super) fn follow_files(&self, in_effect: &FilesInEffect) -> anyhow::Result<()> {
        if let Some(tls) = &self.tls {
            let hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
            tokio::spawn(Arc::clone(tls).follow(hangup, in_effect.clone()));
        }
        if let Some(issuers) = &self.issuers {
            tokio::spawn(Arc::clone(issuers).follow(in_effect.clone()));
        }
        if let Some(keys) = &self.shared_cache_keys {
            let hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
            tokio::spawn(Arc::clone(keys).follow(hangup, in_effect.clone()));
        }
        Ok(())
    }
}

fn load_tls(config: &Config, clock: &Arc<dyn Clock>) -> Result<Option<Tls>, Diagnostic> {
    let Some(settings) = config.server.tls.clone() else { return Ok(None) };
    Tls::load(settings, Arc::clone(clock)).map(Some).map_err(|error| {
        diagnostic("[server.tls], authentication.client_ca, client_dns and client_crl", error.to_string())
    })
}

fn load_issuers(config: &Config, clock: &Arc<dyn Clock>) -> Result<Option<Issuers>, Diagnostic> {
    if config.server.issuers.is_empty() {
        return Ok(None);
    }
    Issuers::load(config.server.issuers.clone(), Arc::clone(clock))
        .map(Some)
        .map_err(|error| diagnostic("[[authentication.jwt]]", error.to_string()))
}

fn load_ecr_api_secret(config: &Config) -> Result<Option<Secret>, Diagnostic> {
    let Some(api) = &config.server.aws_api else { return Ok(None) };
    let file = &api.secret_file;
    let at = |problem| diagnostic("server.aws_api_secret_file", format!("{} {problem}", file.display()));
    Secret::read(file).map_err(at)
}

fn load_shared_cache_keys(config: &Config) -> Result<Option<KeyFile>, Diagnostic> {
    let Some(cache) = &config.shared_cache else { return Ok(None) };
    let file = &cache.keys_file;
    let at = |problem| diagnostic("shared_cache.keys_file", format!("{} {problem}", file.display()));
    KeyFile::load(file).map(Some).map_err(at)
}

fn diagnostic(place: &str, problem: String) -> Diagnostic {
    Diagnostic { place: place.to_owned(), problem }
}

/// Keeps what was loaded, and moves a problem to the list.
fn keep<T>(loaded: Result<Option<T>, Diagnostic>, diagnostics: &mut Vec<Diagnostic>) -> Option<Arc<T>> {
    loaded
        .unwrap_or_else(|problem| {
            diagnostics.push(problem);
            None
        })
        .map(Arc::new)
}

#[cfg(test)]
mod tests;
