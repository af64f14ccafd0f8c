//! TLS for callers of other hosts: the broker's certificate, and whose client certificates say who they are.
//!
//! TLS 1.3 only, and no session is resumed, so that every connection is judged by the roots of its day. Files that change are read
//! anew; what is broken changes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier as _;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::time_provider::TimeProvider;
use spiffe::TrustDomain;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::signal::unix::Signal;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{error, info};
use zeroize::Zeroize;

use self::certificate::CertificateError;
use self::verifier::Verifier;
use crate::caller::{Caller, DnsName};
use crate::clock::Clock;
use crate::follow_file::{Check, FileFollower, Found, Hangups};
use crate::{supervise, trusted_file};

mod certificate;
mod verifier;

/// The files that say who the broker is, and who vouches for its callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The broker's certificate, and those between it and a root (PEM).
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
    /// The roots of each SPIFFE trust domain (PEM).
    pub trust_domains: BTreeMap<TrustDomain, PathBuf>,
    /// The roots that may vouch for each DNS name (PEM); for no other name is any certificate taken.
    pub dns_names: BTreeMap<DnsName, PathBuf>,
}

/// Whom a certificate names, as callers are written: for fuzzing, which reaches what is public only.
#[cfg(fuzzing)]
#[must_use]
pub fn named_in(certificate: &[u8]) -> Vec<String> {
    let certificate = CertificateDer::from_slice(certificate);
    _ = certificate::check_root(&certificate);
    _ = certificate::end_of(&certificate);
    match certificate::read(&certificate) {
        Ok(certificate::Subject::Spiffe(id)) => vec![id.to_string()],
        Ok(certificate::Subject::Dns(names)) => names.iter().map(|name| format!("dns:{name}")).collect(),
        Err(_) => Vec::new(),
    }
}

/// The TLS side of listeners.
#[derive(Debug)]
pub struct Tls {
    settings: Settings,
    clock: Arc<dyn Clock>,
    current: ArcSwap<Generation>,
}

/// What was made of the files as they were at one time.
#[derive(Debug)]
struct Generation {
    files: Files,
    config: Arc<ServerConfig>,
    verifier: Arc<Verifier>,
    /// Tells it from those before and after it.
    number: u64,
}

/// The texts of all files.
#[derive(Clone, PartialEq, Eq)]
struct Files(BTreeMap<PathBuf, Vec<u8>>);

/// Who a peer's certificate says it is. It holds for as long as the certificate lasts and a root that is in force vouches for it.
#[derive(Debug)]
pub struct Proof {
    tls: Arc<Tls>,
    chain: Vec<CertificateDer<'static>>,
    caller: Caller,
    /// When the first certificate of the chain does.
    end: SystemTime,
    /// The number of the generation that took it last.
    judged: AtomicU64,
    /// The number of the one that refused it last.
    refused: AtomicU64,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} {problem}", path.display())]
pub struct TlsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Where one of them cannot be read or used.
    pub fn load(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let generation = Generation::of(&settings, Files::read(&settings)?, &clock, 0)?;
        // No reason not to start, for there may be callers on a Unix socket.
        if let Err(error) = generation.check_end(&settings, clock.now().wall) {
            error!(%error, "nobody will connect over TLS");
        }
        Ok(Self { settings, clock, current: ArcSwap::from_pointee(generation) })
    }

    /// The server's side of a handshake, and what the peer has proved by it; nothing, where it showed no certificate.
    ///
    /// # Errors
    /// Where the peer does not speak TLS 1.3, goes away, or shows a certificate that is not taken; the error says why.
    pub async fn accept<I>(self: &Arc<Self>, io: I) -> io::Result<(TlsStream<I>, Option<Proof>)>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let generation = self.current.load_full();
        let stream = TlsAcceptor::from(Arc::clone(&generation.config)).accept(io).await.map_err(in_words)?;
        let proof = match stream.get_ref().1.peer_certificates() {
            None | Some([]) => None,
            Some(chain @ [leaf, ..]) => {
                let caller = generation.verifier.caller(leaf).map_err(io::Error::other)?;
                let ends =
                    chain.iter().map(certificate::end_of).collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
                let end = ends.into_iter().min().unwrap_or(SystemTime::UNIX_EPOCH);
                let chain = chain.iter().map(|one| one.clone().into_owned()).collect();
                Some(Proof {
                    tls: Arc::clone(self),
                    chain,
                    caller,
                    end,
                    judged: generation.number.into(),
                    refused: AtomicU64::new(u64::MAX),
                })
            }
        };
        Ok((stream, proof))
    }

    /// Reads the files again at every `hangup`, and when they have changed. What is broken changes nothing, and is said once.
    pub async fn follow(self: Arc<Self>, hangup: Signal) {
        let hangups = Hangups::new(hangup);
        let start = || Arc::clone(&self).follow_files(hangups.receiver());
        supervise::run("following the TLS files", start).await;
    }

    async fn follow_files(self: Arc<Self>, hangup: Option<Signal>) {
        let tls = Arc::clone(&self);
        let read = move || Files::read(&tls.settings);
        let mut follower = FileFollower::new("TLS", self.current.load().files.clone(), read).on_hangup(hangup);
        let mut reported: Option<String> = None;
        loop {
            let Check { requested, found } = follower.next().await;
            let outcome = match found {
                Found::Settled { contents, .. } => self.put_in_force(contents),
                Found::Unreadable(error) => Err(error),
                Found::Unsettled => Ok(()),
            };
            let problem = outcome.err().map(|error| error.to_string());
            if let Some(problem) = problem.as_ref().filter(|problem| requested || reported.as_ref() != Some(problem)) {
                error!(%problem, "TLS files were read again and cannot be used; the old ones stay in force");
            }
            reported = problem;
        }
    }

    fn put_in_force(&self, files: Files) -> Result<(), TlsError> {
        let old = self.current.load_full();
        if files == old.files {
            return Ok(());
        }
        let new = Generation::of(&self.settings, files, &self.clock, old.number + 1)?;
        new.check_end(&self.settings, self.clock.now().wall)?;
        self.current.store(Arc::new(new));
        info!("TLS files have changed, and the new ones are in force");
        Ok(())
    }
}

impl Proof {
    /// Who it is, if that still holds.
    ///
    /// # Errors
    /// Where it does not; why, and what would help.
    pub fn caller(&self) -> Result<Caller, &'static str> {
        let now = self.tls.clock.now().wall;
        if now > self.end {
            return Err("your client certificate has expired since you connected; connect again with a new one");
        }
        let current = self.tls.current.load();
        if self.judged.load(Ordering::Relaxed) != current.number {
            self.judge(&current, now)?;
        }
        Ok(self.caller.clone())
    }

    /// By roots that have come since; once, for it costs signatures.
    fn judge(&self, current: &Generation, now: SystemTime) -> Result<(), &'static str> {
        let refused = "the broker's roots have changed since you connected, and none vouches for your client certificate any more";
        let [leaf, others @ ..] = self.chain.as_slice() else { return Err(refused) };
        if self.refused.load(Ordering::Relaxed) == current.number {
            return Err(refused);
        }
        if current.verifier.verify_client_cert(leaf, others, unix_time(now)).is_err() {
            self.refused.store(current.number, Ordering::Relaxed);
            return Err(refused);
        }
        self.judged.store(current.number, Ordering::Relaxed);
        Ok(())
    }
}

impl Settings {
    /// Whether anybody can prove by a certificate who they are.
    #[must_use]
    pub fn knows_clients(&self) -> bool {
        self.roots().next().is_some()
    }

    fn roots(&self) -> impl Iterator<Item = &PathBuf> {
        self.trust_domains.values().chain(self.dns_names.values())
    }
}

impl Generation {
    fn of(settings: &Settings, files: Files, clock: &Arc<dyn Clock>, number: u64) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Arc::new(Verifier::of(settings, &files, &provider)?);
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |error: rustls::Error| TlsError { path, problem: format!("cannot be used: {error}") }
        };
        let builder = ServerConfig::builder_with_details(provider, Arc::new(Time(Arc::clone(clock))));
        let mut config = builder
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unusable(&settings.certificate))?
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(files.certificates(&settings.certificate)?, files.key(&settings.key)?)
            .map_err(unusable(&settings.key))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { files, config: Arc::new(config), verifier, number })
    }

    /// Whether the broker's own certificate is still good.
    fn check_end(&self, settings: &Settings, now: SystemTime) -> Result<(), TlsError> {
        let certificates = self.files.certificates(&settings.certificate)?;
        let end = certificates.first().and_then(|leaf| certificate::end_of(leaf).ok());
        let problem = match end {
            Some(end) if end >= now => return Ok(()),
            Some(end) => format!("has expired, at {}", humantime::format_rfc3339_seconds(end)),
            None => "has an end that cannot be read".to_owned(),
        };
        Err(TlsError { path: settings.certificate.clone(), problem })
    }
}

impl Files {
    fn read(settings: &Settings) -> Result<Self, TlsError> {
        let paths = [&settings.certificate, &settings.key].into_iter().chain(settings.roots());
        let read = |path: &PathBuf| match trusted_file::read(path) {
            Ok(text) => Ok((path.clone(), text)),
            Err(error) => Err(TlsError { path: path.clone(), problem: error.to_string() }),
        };
        paths.map(read).collect::<Result<_, _>>().map(Self)
    }

    fn text(&self, path: &Path) -> &[u8] {
        self.0.get(path).map(Vec::as_slice).unwrap_or_default()
    }

    fn certificates(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let unusable = |problem: String| TlsError { path: path.to_owned(), problem };
        let certificates = CertificateDer::pem_slice_iter(self.text(path)).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| unusable(format!("has a broken certificate: {error}")))?;
        if certificates.is_empty() {
            return Err(unusable("holds no certificate in PEM form".to_owned()));
        }
        Ok(certificates)
    }

    fn key(&self, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
        // The reason may quote what is in the file.
        PrivateKeyDer::from_pem_slice(self.text(path))
            .map_err(|_| TlsError { path: path.to_owned(), problem: "holds no private key in PEM form".to_owned() })
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.0.values_mut().for_each(Zeroize::zeroize);
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Whether a handshake failed for what its client showed, and not for want of any.
#[must_use]
pub fn is_about_a_certificate(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| {
        inner.is::<CertificateError>() || matches!(inner.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
    })
}

/// rustls prints what our own verifier says as a structure of Rust's.
fn in_words(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(rustls::OtherError(own)))) => {
            match own.downcast_ref::<CertificateError>() {
                Some(own) => io::Error::other(own.clone()),
                None => error,
            }
        }
        _ => error,
    }
}

/// Our clock, as rustls asks it.
#[derive(Debug)]
struct Time(Arc<dyn Clock>);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.now().wall))
    }
}

/// A time before 1970 is 1970, when no certificate was valid yet.
fn unix_time(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}
