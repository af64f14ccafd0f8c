//! Files that a connection needs: the password, certificates and keys. They are read for each connection, so that a new password or
//! token, or a renewed certificate, is in use from the next connection on.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

use super::settings::{Settings, TlsFiles};
use crate::trusted_file;

/// What a connection needs of the broker's files. Never printed.
pub(super) struct Credentials {
    /// The password, if the server asks for one.
    pub(super) password: Option<Zeroizing<String>>,
    /// The side of TLS that is the broker's, if the connection speaks TLS.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// Reads the files. Waits for the disk.
    ///
    /// # Errors
    /// A file cannot be read, or has not what it should have. The error names the file and none of its contents.
    pub(super) fn read(settings: &Settings) -> Result<Self, String> {
        let password = settings.password_file.as_deref().map(read_password).transpose()?;
        let tls = settings.target.tls.then(|| client_config(&settings.tls)).transpose()?;
        Ok(Self { password, tls: tls.map(Arc::new) })
    }
}

fn read_password(file: &Path) -> Result<Zeroizing<String>, String> {
    let at = |problem: &str| format!("password file {} {problem}", file.display());
    let bytes = trusted_file::read_secret(file).map_err(|error| at(&error.to_string()))?;
    let text = Zeroizing::new(String::from_utf8(bytes).map_err(|_| at("is not UTF-8; write the password as text"))?);
    let password = text.trim_end_matches(['\n', '\r']);
    if password.is_empty() || password.contains(['\n', '\r', '\0']) {
        return Err(at("has not one line; write the password, and nothing else"));
    }
    Ok(Zeroizing::new(password.to_owned()))
}

fn client_config(files: &TlsFiles) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.with_root_certificates(roots(files)?);
    let Some((certificate, key)) = &files.client else { return Ok(builder.with_no_client_auth()) };
    let chain = CertificateDer::pem_slice_iter(&read(certificate)?).collect::<Result<Vec<_>, _>>();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| format!("{} has no PEM certificate; correct it", certificate.display()))?;
    let secret = trusted_file::read_secret(key).map_err(|error| format!("{} {error}", key.display()))?;
    let private = PrivateKeyDer::from_pem_slice(&Zeroizing::new(secret));
    let private = private.map_err(|_| format!("{} has no unencrypted PEM key; correct it", key.display()))?;
    let config = builder.with_client_auth_cert(chain, private);
    config.map_err(|_| format!("{} is not the key of {}; correct one", key.display(), certificate.display()))
}

fn roots(files: &TlsFiles) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(file) = &files.ca else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    for certificate in CertificateDer::pem_slice_iter(&read(file)?) {
        let added = certificate.ok().and_then(|certificate| roots.add(certificate).ok());
        added.ok_or_else(|| format!("{} has a broken certificate; correct it", file.display()))?;
    }
    if roots.is_empty() { Err(format!("{} has no PEM certificate; correct it", file.display())) } else { Ok(roots) }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    trusted_file::read(file).map_err(|error| format!("{} {error}", file.display()))
}
