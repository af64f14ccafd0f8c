//! Trust domains, a broker that trusts them, and calls with their certificates.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use ecr_broker::authn::tls::{Application, Settings, Tls};
use ecr_broker::pb;
use ecr_broker::pb::registry_credentials_service_client::RegistryCredentialsServiceClient;
use ecr_broker::policy::{CallerPattern, Effect, Grant, Policy, RegistryPattern};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::certificates::{Authority, BROKER, Pair};
use super::support::*;

pub(crate) const HOST_NAME: &str = "build-1.corp.example";

/// Two trust domains, a CA for hosts, and an impostor with the name of the first CA.
pub(crate) struct Federation {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) a: Authority,
    pub(crate) b: Authority,
    pub(crate) hosts: Authority,
    pub(crate) impostor: Authority,
    pub(crate) settings: Settings,
}

impl Federation {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = |file, name| Authority::new(directory.path(), file, name);
        let (a, b) = (authority("a.pem", "authority a"), authority("b.pem", "authority b"));
        let (hosts, impostor) = (authority("hosts.pem", "hosts"), authority("impostor.pem", "authority a"));
        let (certificate, key) = a.server().write(directory.path(), "server");
        let domain = |name| spiffe::TrustDomain::new(name).unwrap();
        let names = [HOST_NAME, "build-2.corp.example"].map(|name| (name.parse().unwrap(), hosts.file.clone()));
        let settings = Settings {
            certificate,
            key,
            trust_domains: BTreeMap::from([
                (domain("a.example"), a.file.clone()),
                (domain("b.example"), b.file.clone()),
            ]),
            dns_names: BTreeMap::from(names),
            revocations: BTreeMap::new(),
        };
        Self { directory, a, b, hosts, impostor, settings }
    }

    pub(crate) fn broker(&self) -> TestBroker {
        let cache = TestCache::new();
        let tls = Tls::load(self.settings.clone(), cache.clock.clone()).unwrap();
        TestBroker::start_on(cache, policy(), None, |setup| {
            setup.auth.tls = Some(Arc::new(tls));
            setup.config.server.loopback = false;
        })
    }
}

pub(crate) fn policy() -> Policy {
    let grant = |id: &str, caller, registry| Grant {
        id: id.into(),
        callers: vec![caller],
        registries: vec![registry],
        profile: Some("default".into()),
        effect: Effect::Allow,
        max_lifetime: None,
    };
    Policy::Grants(vec![
        grant(
            "runners",
            CallerPattern::Spiffe("spiffe://a.example/ns/ci/sa/*".parse().unwrap()),
            RegistryPattern::every_private(),
        ),
        grant("hosts", CallerPattern::Dns(HOST_NAME.parse().unwrap()), RegistryPattern::Public),
    ])
}

pub(crate) async fn connect(broker: &TestBroker, roots: &Authority, identity: Option<&Pair>) -> Channel {
    connect_to(broker.tcp, roots, identity).await
}

pub(crate) async fn connect_to(address: SocketAddr, roots: &Authority, identity: Option<&Pair>) -> Channel {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(roots.pem())).domain_name(BROKER);
    if let Some(pair) = identity {
        tls = tls.identity(Identity::from_pem(&pair.certificate, &pair.key));
    }
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
    endpoint.connect().await.unwrap()
}

pub(crate) async fn whoami(channel: &Channel) -> Result<pb::GetCallerIdentityResponse, Status> {
    let mut client = RegistryCredentialsServiceClient::new(channel.clone());
    client.get_caller_identity(pb::GetCallerIdentityRequest {}).await.map(tonic::Response::into_inner)
}

pub(crate) async fn get(channel: &Channel, host: &str) -> Result<String, Status> {
    let mut client = RegistryCredentialsServiceClient::new(channel.clone());
    let answer = client.get_registry_credentials(request(host)).await?;
    Ok(answer.into_inner().credentials.unwrap().registry)
}

pub(crate) fn client_config(
    federation: &Federation,
    versions: &[&'static SupportedProtocolVersion],
    identity: &Pair,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(federation.a.pem().as_bytes()).unwrap()).unwrap();
    let certificates = CertificateDer::pem_slice_iter(identity.certificate.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates, key)
        .unwrap()
}

/// Performs a handshake and returns the caller, or the broker's error.
pub(crate) async fn handshake(tls: &Arc<Tls>, config: Arc<ClientConfig>) -> Result<String, String> {
    let (here, there) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(BROKER).unwrap();
    let client = tokio_rustls::TlsConnector::from(config).connect(name, there);
    let (accepted, client) = tokio::join!(tls.accept(here, Application::Http2), client);
    drop(client);
    let (_, proof) = accepted.map_err(|error| error.to_string())?;
    Ok(proof.unwrap().caller()?.to_string())
}
