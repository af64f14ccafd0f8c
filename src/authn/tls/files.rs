//! The contents of the TLS files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use zeroize::Zeroize;

use super::settings::Settings;
use crate::trusted_file;

/// The contents of all files. One is a private key, so the contents are never printed, and are zeroed on drop.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Files {
    all: BTreeMap<PathBuf, Vec<u8>>,
    /// Files of revocation lists. One that cannot be read holds up no other file.
    lists: BTreeMap<PathBuf, Result<Arc<Vec<u8>>, TlsError>>,
}

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {problem}", path.display())]
pub struct TlsError {
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub problem: String,
}

/// Longest file of revocation lists: 16 MiB, about 400,000 certificates.
const MAX_LIST_BYTES: u64 = 16 << 20;
/// First byte of a list in DER form; no PEM file begins with it.
const DER_SEQUENCE: u8 = 0x30;
const ENCRYPTED: &str = "holds an encrypted private key; decrypt it (openssl pkey -in FILE -out NEW_FILE)";

impl TlsError {
    pub(super) fn new(path: &Path, problem: impl Into<String>) -> Self {
        Self { path: path.to_owned(), problem: problem.into() }
    }
}

impl Files {
    pub(super) fn read(settings: &Settings) -> Result<Self, TlsError> {
        let read = |path: &PathBuf| {
            let is_key = *path == settings.key;
            let read = if is_key { trusted_file::read_secret(path) } else { trusted_file::read(path) };
            read.map(|text| (path.clone(), text)).map_err(|error| TlsError::new(path, error.to_string()))
        };
        let read_list = |path: &PathBuf| {
            let contents = trusted_file::read_up_to(path, MAX_LIST_BYTES).map(Arc::new);
            (path.clone(), contents.map_err(|error| TlsError::new(path, error.to_string())))
        };
        let lists = settings.revocations.values().map(read_list).collect();
        settings.files().map(read).collect::<Result<_, _>>().map(|all| Self { all, lists })
    }

    pub(super) fn certificates(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let certificates = CertificateDer::pem_slice_iter(self.text(path)).collect::<Result<Vec<_>, _>>();
        let malformed = |error| TlsError::new(path, format!("has a malformed certificate: {error}"));
        let certificates = certificates.map_err(malformed)?;
        if certificates.is_empty() {
            return Err(TlsError::new(path, "holds no certificate in PEM form"));
        }
        Ok(certificates)
    }

    /// Returns the revocation lists of a file, which holds one in DER form or any number in PEM form.
    pub(super) fn revocation_lists(&self, path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        let text = match self.lists.get(path) {
            Some(contents) => contents.as_ref().map_err(Clone::clone)?.as_slice(),
            None => &[],
        };
        if text.first() == Some(&DER_SEQUENCE) {
            return Ok(vec![CertificateRevocationListDer::from(text.to_vec())]);
        }
        let lists = CertificateRevocationListDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
        let lists = lists.map_err(|error| TlsError::new(path, format!("has a malformed revocation list: {error}")))?;
        if lists.is_empty() {
            return Err(TlsError::new(path, "holds no revocation list in PEM or DER form"));
        }
        Ok(lists)
    }

    pub(super) fn key(&self, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
        let problem = if is_encrypted(self.text(path)) { ENCRYPTED } else { "holds no private key in PEM form" };
        // Drop the parser's error, which may quote the private key.
        PrivateKeyDer::from_pem_slice(self.text(path)).map_err(|_| TlsError::new(path, problem))
    }

    fn text(&self, path: &Path) -> &[u8] {
        self.all.get(path).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Returns whether a private key needs a passphrase, in the form of PKCS #8 or of OpenSSL.
fn is_encrypted(pem: &[u8]) -> bool {
    let contains = |text: &[u8]| pem.windows(text.len()).any(|window| window == text);
    contains(b"BEGIN ENCRYPTED PRIVATE KEY") || contains(b"Proc-Type: 4,ENCRYPTED")
}

impl Drop for Files {
    fn drop(&mut self) {
        self.all.values_mut().for_each(Zeroize::zeroize);
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.all.keys()).entries(self.lists.keys()).finish()
    }
}
