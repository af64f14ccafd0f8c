//! Checks the certificate and key files of a client.

use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::problem::Problem;
use super::time_text::{from_unix, rfc3339};

/// The description of a file, or its problem.
pub(super) type FileCheck = Result<String, FileProblem>;

/// A file that cannot be used.
#[derive(Debug)]
pub(super) struct FileProblem {
    pub(super) problem: Problem,
    pub(super) facts: String,
    pub(super) fix: &'static str,
}

impl FileProblem {
    pub(super) fn new(problem: Problem, facts: impl Into<String>, fix: &'static str) -> Self {
        Self { problem, facts: facts.into(), fix }
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, FileProblem> {
    std::fs::read(path).map_err(|error| {
        let fix = match error.kind() {
            ErrorKind::NotFound => "create the file, or name another one",
            ErrorKind::PermissionDenied => "let this user read the file, or run this command as its owner",
            _ => "name another file",
        };
        FileProblem::new(Problem::FileUnreadable, error.to_string(), fix)
    })
}

/// Checks a file of trusted CA certificates.
pub(super) fn check_authorities(path: &Path, now: SystemTime) -> FileCheck {
    let certificates = certificates(path)?;
    let valid = certificates.iter().filter_map(not_after).filter(|end| *end > now).count();
    if valid == 0 {
        let fix = "get the current certificate of the authority that signs the broker's certificate";
        return Err(FileProblem::new(Problem::CaCertificatesExpired, "", fix));
    }
    Ok(format!("{} certificates, {valid} of them valid", certificates.len()))
}

/// Checks the client certificate: the first in the file. The others are its chain.
pub(super) fn check_certificate(path: &Path, now: SystemTime) -> FileCheck {
    let certificates = certificates(path)?;
    match certificates.first().and_then(not_after) {
        None => Err(FileProblem::new(Problem::CertificateMalformed, "", "get a new certificate")),
        Some(end) if end <= now => {
            let fix =
                "get a new certificate, or find out why its renewal stopped; if it is valid, set this machine's clock";
            Err(FileProblem::new(Problem::CertificateExpired, format!("valid until {}", rfc3339(end)), fix))
        }
        Some(_) if certificates.first().is_some_and(is_authority) => {
            let fix = "issue it without CA:TRUE (openssl req -x509: -addext basicConstraints=critical,CA:FALSE -addext keyUsage=digitalSignature)";
            Err(FileProblem::new(Problem::CertificateOfAuthority, "the broker rejects it", fix))
        }
        Some(end) => Ok(format!("valid until {}", rfc3339(end))),
    }
}

/// Checks the key of the client certificate. The parser's error is dropped: it could repeat a part of the key.
pub(super) fn check_key(path: &Path) -> FileCheck {
    let pem = read(path)?;
    let unusable = |_| FileProblem::new(Problem::NoKeyInFile, "", "name the file with the certificate's key");
    PrivateKeyDer::from_pem_slice(&pem).map_err(unusable)?;
    Ok("a private key".to_owned())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileProblem> {
    let pem = read(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().unwrap_or_default();
    if certificates.is_empty() {
        let fix = "name a file with -----BEGIN CERTIFICATE-----";
        return Err(FileProblem::new(Problem::NoCertificateInFile, "", fix));
    }
    Ok(certificates)
}

fn is_authority(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, parsed)| parsed.is_ca())
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    from_unix(u64::try_from(parsed.validity().not_after.timestamp()).ok()?)
}
