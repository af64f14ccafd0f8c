//! TLS towards a collector: whom to trust, and the broker's own certificate.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::metrics::Signal;
use super::variables::Variables;
use crate::bounded_file;

/// Longest file of certificates or of a key, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The files of TLS. The key is not printed.
#[derive(Default)]
pub(super) struct Tls {
    /// The certificates to trust instead of the system's, as PEM.
    roots: Option<String>,
    client: Option<Client>,
}

/// The broker's own certificate with its key, as PEM.
struct Client {
    certificate: String,
    key: String,
}

impl Tls {
    /// Reads the files that the variables of a signal name.
    pub(super) fn read(signal: Signal, variables: &Variables<'_>) -> anyhow::Result<Self> {
        let file = |suffix| variables.of_signal(signal, suffix).map(|(name, file)| read(name, file)).transpose();
        let roots = file("CERTIFICATE")?;
        if let Some((pem, name)) = &roots
            && reqwest::Certificate::from_pem_bundle(pem.as_bytes()).unwrap_or_default().is_empty()
        {
            return Err(anyhow!("{name}: the file has no PEM certificates; name a file that has"));
        }
        let client = match (file("CLIENT_CERTIFICATE")?, file("CLIENT_KEY")?) {
            (None, None) => None,
            (Some((certificate, name)), Some((key, _))) => Some(Client::new(certificate, key).with_context(|| {
                format!("{name}: not a PEM certificate with its own unencrypted key; correct both files")
            })?),
            (Some((_, name)), None) => {
                return Err(anyhow!("{name}: the certificate has no key; set {}", partner(&name)));
            }
            (None, Some((_, name))) => {
                return Err(anyhow!("{name}: the key has no certificate; set {}", partner(&name)));
            }
        };
        Ok(Self { roots: roots.map(|(pem, _)| pem), client })
    }

    /// Returns the settings for gRPC. The exporter's own default trusts no certificate at all.
    pub(super) fn for_grpc(&self) -> ClientTlsConfig {
        let config = match &self.roots {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_enabled_roots(),
        };
        match &self.client {
            Some(client) => config.identity(Identity::from_pem(&client.certificate, &client.key)),
            None => config,
        }
    }

    /// Returns the certificates to trust instead of the system's, and the broker's own. In plaintext none is trusted: a client that
    /// loads the system's fails where there are none, as in a minimal container image.
    pub(super) fn for_http(
        &self,
        plaintext: bool,
    ) -> anyhow::Result<(Option<Vec<reqwest::Certificate>>, Option<reqwest::Identity>)> {
        let pem = self.roots.as_deref().or_else(|| plaintext.then_some(""));
        let roots = pem.map(|pem| reqwest::Certificate::from_pem_bundle(pem.as_bytes()));
        let identity = self.client.as_ref().map(Client::identity);
        Ok((roots.transpose()?, identity.transpose()?))
    }
}

impl Client {
    /// Fails if the files cannot be used together. The exporter over gRPC would fail too, but its error names no variable.
    fn new(certificate: String, key: String) -> reqwest::Result<Self> {
        let client = Self { certificate, key };
        reqwest::Client::builder().tls_certs_only([]).identity(client.identity()?).build()?;
        Ok(client)
    }

    fn identity(&self) -> reqwest::Result<reqwest::Identity> {
        reqwest::Identity::from_pem(format!("{}\n{}", self.certificate, self.key).as_bytes())
    }
}

/// Returns the text of a file and the variable that names it.
fn read(name: String, file: &str) -> anyhow::Result<(String, String)> {
    match bounded_file::read_text(Path::new(file), MAX_FILE) {
        Ok(text) => Ok((text, name)),
        Err(error) => Err(anyhow!("{name}: cannot read {file}: {error}")),
    }
}

/// Returns the variable that belongs to another.
fn partner(name: &str) -> String {
    match name.strip_suffix("KEY") {
        Some(stem) => format!("{stem}CERTIFICATE"),
        None => name.replace("CLIENT_CERTIFICATE", "CLIENT_KEY"),
    }
}
