//! CA bundles: reads a file and checks each certificate. The SDK would panic at each call over a broken one.

use std::path::Path;

use anyhow::{Context as _, anyhow, ensure};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::trusted_file;

/// Returns the file's PEM text after checking each certificate.
///
/// # Errors
/// The file cannot be read, has no certificate or has a broken one. The error names the file and the certificate.
pub fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let pem = trusted_file::read(path).map_err(|error| anyhow!("CA bundle {} {error}", path.display()))?;
    let mut roots = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(&pem).enumerate() {
        let broken = || format!("CA bundle {}: certificate {} is broken", path.display(), index + 1);
        roots.add(certificate.with_context(broken)?).with_context(broken)?;
    }
    ensure!(!roots.is_empty(), "CA bundle {} has no certificate in PEM format", path.display());
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn bundle_that_any_user_can_replace_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        let ca = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap();
        fs::write(&file, ca.cert.pem()).unwrap();
        assert_eq!(read(&file).unwrap(), ca.cert.pem().as_bytes());
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
        let refused = read(&file).unwrap_err().to_string();
        assert!(refused.contains("ca.pem is in the world-writable directory"), "{refused}");
    }
}
