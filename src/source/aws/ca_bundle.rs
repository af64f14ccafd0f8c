//! A file of CA certificates. It is checked whole when it is read: the SDK would panic over a broken one, at every call.

use std::path::Path;

use anyhow::{Context as _, ensure};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The file's PEM text, every certificate in which can be used.
///
/// # Errors
/// Where it cannot be read, or holds no certificate, or one that is broken; the error names the file and the certificate.
pub fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let place = || format!("the CA bundle {}", path.display());
    let pem = std::fs::read(path).with_context(|| format!("{} cannot be read", place()))?;
    let mut roots = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(&pem).enumerate() {
        let broken = || format!("certificate {} of {} is broken", index + 1, place());
        roots.add(certificate.with_context(broken)?).with_context(broken)?;
    }
    ensure!(!roots.is_empty(), "{} holds no certificate in PEM form", place());
    Ok(pem)
}
