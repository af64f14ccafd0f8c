//! Generations of the TLS files. Each generation is built from one reading of the files, and one generation is active.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::server::{NoServerSessionStorage, ServerConfig};

use super::certificate;
use super::files::{Files, TlsError};
use super::server_certificate;
use super::settings::Settings;
use super::unix_time::ClockTime;
use super::verifier::Verifier;
use crate::clock::Clock;

/// The active generation.
#[derive(Debug)]
pub(super) struct Generations {
    current: ArcSwap<Generation>,
    clock: Arc<dyn Clock>,
}

/// The protocol that a listener speaks over TLS, and the only one that it agrees to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Application {
    /// HTTP/2.
    Http2,
    /// HTTP/1.1.
    Http1,
}

/// A server configuration for each application protocol and a verifier, built from one reading of the files.
#[derive(Debug)]
pub(super) struct Generation {
    files: Files,
    http2: Arc<ServerConfig>,
    http1: Arc<ServerConfig>,
    verifier: Arc<Verifier>,
    number: u64,
}

impl Generations {
    pub(super) fn new(first: Generation, clock: Arc<dyn Clock>) -> Self {
        Self { current: ArcSwap::from_pointee(first), clock }
    }

    pub(super) fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    pub(super) fn replace(&self, new: Generation) {
        self.current.store(Arc::new(new));
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

impl Generation {
    /// Builds the generation that follows the `last`.
    pub(super) fn new(
        settings: &Settings,
        files: Files,
        clock: &Arc<dyn Clock>,
        last: Option<&Self>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Arc::new(Verifier::new(settings, &files, &provider, last.map(|last| &*last.verifier))?);
        let builder = ServerConfig::builder_with_details(provider, Arc::new(ClockTime(Arc::clone(clock))));
        let mut config = builder
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unusable(&settings.certificate))?
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(files.certificates(&settings.certificate)?, files.key(&settings.key)?)
            .map_err(unusable_key(settings))?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let number = last.map_or(0, |last| last.number + 1);
        let [http2, http1] = [&b"h2"[..], b"http/1.1"].map(|application| {
            let mut config = config.clone();
            config.alpn_protocols = vec![application.to_vec()];
            Arc::new(config)
        });
        Ok(Self { files, http2, http1, verifier, number })
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    pub(super) fn config(&self, application: Application) -> Arc<ServerConfig> {
        Arc::clone(match application {
            Application::Http2 => &self.http2,
            Application::Http1 => &self.http1,
        })
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Returns the number, which differs from that of every other generation.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Returns the mistakes in the broker's certificate for which some or all clients reject it.
    pub(super) fn mistakes(&self, settings: &Settings, now: SystemTime) -> Vec<TlsError> {
        let certificates = self.files.certificates(&settings.certificate).unwrap_or_default();
        let mistakes = certificates.first().map(|leaf| server_certificate::mistakes(leaf, now)).unwrap_or_default();
        mistakes.into_iter().map(|mistake| TlsError::new(&settings.certificate, mistake)).collect()
    }

    /// Checks that the broker's certificate has not expired.
    pub(super) fn check_expiry(&self, settings: &Settings, now: SystemTime) -> Result<(), TlsError> {
        let certificates = self.files.certificates(&settings.certificate)?;
        let expiry = certificates.first().and_then(|leaf| certificate::expiry(leaf).ok());
        let problem = match expiry {
            Some(expiry) if expiry >= now => return Ok(()),
            Some(expiry) => format!("has expired, at {}", humantime::format_rfc3339_seconds(expiry)),
            None => "has an expiry time that cannot be read".to_owned(),
        };
        Err(TlsError::new(&settings.certificate, problem))
    }
}

/// Names the file of a private key that does not belong to the certificate.
fn unusable_key(settings: &Settings) -> impl Fn(rustls::Error) -> TlsError {
    move |error| match error {
        rustls::Error::InconsistentKeys(_) => {
            let certificate = settings.certificate.display();
            let problem = format!(
                "is not the key of the first certificate in {certificate}; name the key it was issued for, and put the \
                 broker's certificate before those of its CAs"
            );
            TlsError::new(&settings.key, problem)
        }
        error => unusable(&settings.key)(error),
    }
}

fn unusable(path: &Path) -> impl Fn(rustls::Error) -> TlsError {
    move |error| TlsError::new(path, format!("cannot be used: {error}"))
}
