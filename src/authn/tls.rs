//! TLS for callers of other hosts: the broker's certificate, and the authentication of client certificates.
//!
//! TLS 1.3 only. No session is resumed, so that every connection is verified by the roots of its time. Changed files are read again;
//! broken ones change nothing, and a broken revocation list holds up no other file.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::signal::unix::Signal;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{error, info, warn};

use self::files::Files;
use self::generation::{Generation, Generations};
use crate::clock::Clock;
use crate::follow_file::{Check, FileFollower, FilesInEffect, Found, Hangups};
use crate::log_throttle::LogThrottle;
use crate::supervise;

mod certificate;
mod files;
mod generation;
mod handshake_error;
mod metrics;
mod revocation_list;
mod revocations;
mod roots;
mod server_certificate;
mod settings;
mod unix_time;
mod verified_certificate;
mod verifier;
mod window;

pub use self::files::TlsError;
pub use self::generation::Application;
pub use self::handshake_error::certificate_problem;
pub use self::settings::Settings;
pub use self::verified_certificate::VerifiedCertificate;

/// What the follower of the files is called, in logs and health.
const FILES: &str = "TLS";
/// Time between two log lines of a mistake that lasts.
const MISTAKE_INTERVAL: Duration = Duration::from_hours(1);

/// The TLS side of listeners.
#[derive(Debug)]
pub struct Tls {
    settings: Settings,
    generations: Arc<Generations>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// If one of them cannot be read or used.
    pub fn load(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let generation = Generation::new(&settings, Files::read(&settings)?, &clock, None)?;
        Ok(Self { settings, generations: Arc::new(Generations::new(generation, clock)) })
    }

    /// Returns the mistakes in the broker's certificate for which clients reject it. The broker starts nevertheless: not every
    /// client rejects each of them, and callers on a Unix socket need no certificate.
    #[must_use]
    pub fn certificate_mistakes(&self) -> Vec<TlsError> {
        self.generations.current().mistakes(&self.settings, self.generations.clock().now().wall)
    }

    /// Returns the roots of clients outside their validity, and the revocation lists past their nextUpdate or without a root.
    #[must_use]
    pub fn authority_mistakes(&self) -> Vec<TlsError> {
        let (generation, now) = (self.generations.current(), self.generations.clock().now().wall);
        let verifier = generation.verifier();
        let mistakes = [verifier.roots_outside_validity(now), verifier.stale_lists(now), verifier.foreign_lists()];
        mistakes.into_iter().flatten().collect()
    }

    /// Returns why the current contents of files of revocation lists are not used. Their last good ones are.
    #[must_use]
    pub fn rejected_lists(&self) -> Vec<TlsError> {
        self.generations.current().verifier().rejected_lists()
    }

    /// Logs each mistake in the files.
    pub fn log_mistakes(&self) {
        for error in self.certificate_mistakes() {
            warn!(%error, "broker certificate has a mistake");
        }
        self.log_authority_mistakes();
    }

    fn log_authority_mistakes(&self) {
        let (generation, now) = (self.generations.current(), self.generations.clock().now().wall);
        for error in generation.verifier().roots_outside_validity(now) {
            warn!(%error, "client root suspended outside its validity");
        }
        for error in generation.verifier().foreign_lists() {
            warn!(%error, "revocation list matched no root");
        }
    }

    /// Returns whether every file of revocation lists is used and no list is past its nextUpdate. Logs the others once a minute.
    fn check_lists(&self, [of_rejected, of_expired]: &[LogThrottle; 2]) -> bool {
        let (rejected, expired) = (self.rejected_lists(), self.expired_lists());
        if !rejected.is_empty() && of_rejected.is_due(self.now()) {
            for error in &rejected {
                error!(%error, "revocation lists rejected; the last good ones stay in force");
            }
        }
        if !expired.is_empty() && of_expired.is_due(self.now()) {
            for error in &expired {
                warn!(%error, "revocation list expired");
            }
        }
        rejected.is_empty() && expired.is_empty()
    }

    fn expired_lists(&self) -> Vec<TlsError> {
        self.generations.current().verifier().stale_lists(self.generations.clock().now().wall)
    }

    fn now(&self) -> Duration {
        self.generations.clock().now().steady
    }

    /// Performs the server's side of a handshake. Returns the client certificate, if the peer presented one.
    ///
    /// # Errors
    /// If the peer does not speak TLS 1.3, disconnects, or presents a certificate that is rejected.
    pub async fn accept<I>(
        &self,
        io: I,
        application: Application,
    ) -> io::Result<(TlsStream<I>, Option<VerifiedCertificate>)>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let (generation, started) = (self.generations.current(), self.generations.clock().now().wall);
        let acceptor = TlsAcceptor::from(generation.config(application));
        let stream = acceptor.accept(io).await.map_err(handshake_error::unwrap_own)?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = VerifiedCertificate::of(chain, &generation, &self.generations, started);
        let certificate = certificate.map_err(io::Error::other)?;
        Ok((stream, certificate))
    }

    /// Reads the files again at every `hangup`, and when they have changed. Broken files change nothing, are logged once a minute, and are
    /// not in effect. Nor are revocation lists past their nextUpdate, although nothing better is known.
    pub async fn follow(self: Arc<Self>, hangup: Signal, in_effect: FilesInEffect) {
        let hangups = Hangups::new(hangup);
        let start = || Arc::clone(&self).follow_files(hangups.receiver(), in_effect.clone());
        supervise::run("TLS file reload", start).await;
    }

    async fn follow_files(self: Arc<Self>, hangup: Option<Signal>, in_effect: FilesInEffect) {
        let tls = Arc::clone(&self);
        let read = move || Files::read(&tls.settings);
        let contents = self.generations.current().files().clone();
        let mut follower = FileFollower::new(FILES, contents, read).on_hangup(hangup);
        let mut logged: Option<String> = None;
        let (mut authorities, of_files, of_lists) =
            (AuthorityLog::new(&self), LogThrottle::default(), Default::default());
        loop {
            let Check { requested, found } = follower.next().await;
            authorities.update(&self);
            let outcome = match found {
                Found::Settled { contents, .. } => self.replace_blocking(contents).await,
                Found::Unreadable(error) => Err(error),
                Found::Unsettled(_) => Ok(()),
            };
            let lists_are_good = self.check_lists(&of_lists);
            let error = outcome.err().map(|error| error.to_string());
            in_effect.report(FILES, error.is_none() && lists_are_good);
            let is_new = |error| requested || logged.as_ref() != Some(error);
            if let Some(error) = error.as_ref().filter(|error| of_files.is_due(self.now()) || is_new(error)) {
                error!(error, "TLS files rejected; the old ones stay in force");
            }
            logged = error;
        }
    }

    /// Parses the files on a thread for blocking work: a large bundle of roots takes long.
    async fn replace_blocking(self: &Arc<Self>, files: Files) -> Result<(), TlsError> {
        let tls = Arc::clone(self);
        match tokio::task::spawn_blocking(move || tls.replace(files)).await {
            Ok(outcome) => outcome,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is ending.
            Err(_) => Ok(()),
        }
    }

    fn replace(&self, files: Files) -> Result<(), TlsError> {
        let (old, clock) = (self.generations.current(), self.generations.clock());
        if files == *old.files() {
            return Ok(());
        }
        let new = Generation::new(&self.settings, files, clock, Some(&*old))?;
        new.check_expiry(&self.settings, clock.now().wall)?;
        self.generations.replace(new);
        info!("TLS files reloaded");
        self.log_mistakes();
        Ok(())
    }
}

/// Repeats the mistakes of authorities: when they have changed, for time passes without a reload, and once an hour.
struct AuthorityLog {
    logged: Vec<String>,
    at: Duration,
}

impl AuthorityLog {
    /// The start has logged the mistakes of now.
    fn new(tls: &Tls) -> Self {
        Self { logged: texts(tls), at: tls.generations.clock().now().steady }
    }

    fn update(&mut self, tls: &Tls) {
        let (now, mistakes) = (tls.generations.clock().now().steady, texts(tls));
        let is_due = now.saturating_sub(self.at) >= MISTAKE_INTERVAL;
        if mistakes != self.logged || is_due {
            tls.log_authority_mistakes();
            (self.logged, self.at) = (mistakes, now);
        }
    }
}

fn texts(tls: &Tls) -> Vec<String> {
    tls.authority_mistakes().iter().map(ToString::to_string).collect()
}

/// Returns the callers that a certificate names, as grants write them. For fuzzing, which reaches public items only.
#[cfg(fuzzing)]
#[must_use]
pub fn named_in(certificate: &[u8]) -> Vec<String> {
    let certificate = rustls::pki_types::CertificateDer::from_slice(certificate);
    _ = certificate::check_root(&certificate);
    _ = certificate::expiry(&certificate);
    match certificate::read(&certificate) {
        Ok(certificate::Subject::Spiffe(id)) => vec![id.to_string()],
        Ok(certificate::Subject::Dns(names)) => names.iter().map(|name| format!("dns:{name}")).collect(),
        Err(_) => Vec::new(),
    }
}
