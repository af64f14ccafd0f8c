//! The files that a client reads: whether they can be read, and until when they are good.

use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::time::{at, rfc3339};
use crate::exit_code::Exit;

/// What a file holds, in words, or why it cannot be used.
pub(super) type Held = Result<String, Broken>;

/// A file that cannot be used.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) problem: String,
    pub(super) fix: String,
    /// How the program ends for it.
    pub(super) exit: Exit,
}

impl Broken {
    pub(super) fn new(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { problem: problem.into(), fix: fix.into(), exit: Exit::Failure }
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Broken> {
    std::fs::read(path).map_err(|error| {
        let fix = match error.kind() {
            ErrorKind::NotFound => "put it there, or name another file",
            ErrorKind::PermissionDenied => "have its owner let you read it, or run this as the user whose it is",
            _ => "name another file",
        };
        Broken::new(format!("cannot be read: {error}"), fix)
    })
}

/// Certificates to trust.
pub(super) fn authorities(path: &Path, now: SystemTime) -> Held {
    let certificates = certificates(path)?;
    let good = certificates.iter().filter_map(|certificate| end(certificate)).filter(|end| *end > now).count();
    if good == 0 {
        let fix = "get the certificate of the authority that signs the broker's now";
        return Err(Broken::new("every certificate in it has expired", fix));
    }
    Ok(format!("{} certificates, {good} of them in force", certificates.len()))
}

/// The client's own certificate; the first in the file is its own, the others vouch for it.
pub(super) fn certificate(path: &Path, now: SystemTime) -> Held {
    let certificates = certificates(path)?;
    match certificates.first().and_then(end) {
        None => Err(Broken::new("is not well-formed", "get a new certificate")),
        Some(end) if end <= now => {
            let fix = "get a new certificate; where it has a renewer, see why that stopped; where it is good, set this machine's clock";
            Err(Broken { exit: Exit::Denied, ..Broken::new(format!("expired at {}", rfc3339(end)), fix) })
        }
        Some(end) => Ok(format!("good until {}", rfc3339(end))),
    }
}

/// The certificate's key.
pub(super) fn key(path: &Path) -> Held {
    let pem = read(path)?;
    // What is wrong with it is not told: it is a key.
    let unusable = |_| Broken::new("holds no private key in PEM form", "name the file that has the certificate's key");
    PrivateKeyDer::from_pem_slice(&pem).map_err(unusable)?;
    Ok("a private key".to_owned())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Broken> {
    let pem = read(path)?;
    let unusable = || Broken::new("holds no certificates in PEM form", "name a file with -----BEGIN CERTIFICATE-----");
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|_| unusable())?;
    if certificates.is_empty() { Err(unusable()) } else { Ok(certificates) }
}

fn end(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    at(u64::try_from(parsed.validity().not_after.timestamp()).ok()?)
}
