//! The certificates of `tests/clients/certificates.sh`, for both sides of mutual TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

/// The name in the server's certificate.
pub(crate) const SERVER_NAME: &str = "localhost";

#[derive(Debug)]
pub(crate) struct Tls {
    directory: PathBuf,
    roots: Arc<RootCertStore>,
}

impl Tls {
    pub(crate) fn read(directory: &Path) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(directory.join("a.pem"))?)?;
        Ok(Self { directory: directory.into(), roots: Arc::new(roots) })
    }

    /// Returns the configuration for servers that accept connections themselves.
    pub(crate) fn server(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let (chain, key) = self.pair("server")?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), Arc::clone(&provider)).build()?;
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    /// Returns the same configuration for tonic's server.
    pub(crate) fn tonic(&self) -> anyhow::Result<ServerTlsConfig> {
        let read = |file| std::fs::read(self.directory.join(file));
        let identity = Identity::from_pem(read("server.crt")?, read("server.key")?);
        Ok(ServerTlsConfig::new().identity(identity).client_ca_root(Certificate::from_pem(read("a.pem")?)))
    }

    /// Returns the client's configuration. Handshakes are full ones, like those of a process that has just started.
    pub(crate) fn client(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let (chain, key) = self.pair("runner")?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = builder.with_root_certificates(Arc::clone(&self.roots)).with_client_auth_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    fn pair(&self, name: &str) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain = CertificateDer::pem_file_iter(self.directory.join(format!("{name}.crt")))?;
        let key = PrivateKeyDer::from_pem_file(self.directory.join(format!("{name}.key")))?;
        Ok((chain.collect::<Result<_, _>>()?, key))
    }
}
