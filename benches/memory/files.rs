//! Certificates and the broker's configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::geteuid;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;

use crate::certificates::{Authority, RUNNER};
use crate::client::Transport;

/// Writes the certificates into a new directory.
pub fn write() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "ca.pem", "authority");
    authority.server().write(directory.path(), "server");
    authority.workload(RUNNER).write(directory.path(), "client");
    directory
}

/// Writes the broker's configuration and returns its path. The limits are wide: one caller opens all connections.
pub fn broker_config(place: &Path, transport: Transport, aws: &str) -> PathBuf {
    let directory = place.display();
    let (listen, caller, authentication) = match transport {
        Transport::Unix => {
            (format!("unix:{directory}/broker.sock"), format!("uid = {}", geteuid().as_raw()), String::new())
        }
        Transport::Tcp => ("127.0.0.1:0".to_owned(), "loopback = true".to_owned(), "loopback = true".to_owned()),
        Transport::Tls => {
            let roots = format!("client_ca = {{ \"a.example\" = \"{directory}/ca.pem\" }}");
            ("127.0.0.1:0".to_owned(), format!("spiffe = \"{RUNNER}\""), roots)
        }
    };
    let tls = match transport {
        Transport::Tls => {
            format!("[server.tls]\ncertificate = \"{directory}/server.crt\"\nkey = \"{directory}/server.key\"")
        }
        Transport::Tcp | Transport::Unix => String::new(),
    };
    let text = format!(
        r#"
[server]
listen = ["{listen}"]
max_connections = 10000
max_connections_per_address = 10000
max_connections_per_uid = 10000
{tls}
[authentication]
{authentication}
[limits]
requests_per_second = 1000000
local_requests_per_second = 1000000
[aws]
region = "eu-central-1"
ecr_endpoint = "{aws}"
[cache]
capacity = 20000
[audit]
output = "{directory}/audit.jsonl"
[[grants]]
id = "all"
callers = [{{ {caller} }}]
registries = [{{ accounts = ["*"], regions = ["*"] }}]
"#
    );
    let path = place.join("config.toml");
    fs::write(&path, text).unwrap();
    path
}

/// Returns the TLS of a server that requires a certificate of its clients.
pub fn server_tls(place: &Path) -> Arc<ServerConfig> {
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots(place))).build().unwrap();
    let (certificates, key) = pair(place, "server");
    let mut config =
        ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(certificates, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// Returns the TLS of the client.
pub fn client_tls(place: &Path) -> Arc<ClientConfig> {
    let (certificates, key) = pair(place, "client");
    let mut config =
        ClientConfig::builder().with_root_certificates(roots(place)).with_client_auth_cert(certificates, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

fn roots(place: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(place.join("ca.pem")).unwrap()).unwrap();
    roots
}

fn pair(place: &Path, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let file = |end| place.join(format!("{name}.{end}"));
    let certificate = CertificateDer::from_pem_file(file("crt")).unwrap();
    (vec![certificate], PrivateKeyDer::from_pem_file(file("key")).unwrap())
}
