//! TLS: authentication by client certificates, rejected handshakes and reloaded files.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod certificates;
mod openssl;
mod program;
mod support;
mod tokens;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use certificates::{Authority, BROKER, Pair, RUNNER, dns, leaf, uri};
use ecr_broker::authn::tls::{Application, Settings, Tls, TlsError};
use ecr_broker::pb;
use ecr_broker::pb::registry_credentials_service_client::RegistryCredentialsServiceClient;
use ecr_broker::policy::{CallerPattern, Effect, Grant, Policy, RegistryPattern};
use openssl::{OpensslCa, ROOT};
use program::{Server, run, signal};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, date_time_ymd};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use support::*;
use tokens::{ISSUER, SUBJECT, Signer, bearing, issuers, seconds};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const HOST_NAME: &str = "build-1.corp.example";

/// Two trust domains, a CA for hosts, and an impostor with the name of the first CA.
struct Federation {
    directory: tempfile::TempDir,
    a: Authority,
    b: Authority,
    hosts: Authority,
    impostor: Authority,
    settings: Settings,
}

impl Federation {
    fn new() -> Self {
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

    fn broker(&self) -> TestBroker {
        let cache = TestCache::new();
        let tls = Tls::load(self.settings.clone(), cache.clock.clone()).unwrap();
        TestBroker::start_on(cache, policy(), None, |setup| {
            setup.auth.tls = Some(Arc::new(tls));
            setup.config.server.loopback = false;
        })
    }
}

/// Calls with a token beside the certificate of the connection.
async fn whoami_with(channel: &Channel, token: &str) -> Result<String, Status> {
    let mut client = RegistryCredentialsServiceClient::new(channel.clone());
    client
        .get_caller_identity(bearing(token, pb::GetCallerIdentityRequest {}))
        .await
        .map(|answer| answer.into_inner().principal)
}

#[tokio::test]
async fn certificate_and_token_must_name_the_same_caller() {
    let (federation, signer, cache) = (Federation::new(), Signer::new("k1"), TestCache::new());
    let issuers = issuers(&signer, federation.directory.path(), cache.clock.clone());
    let tls = Arc::new(Tls::load(federation.settings.clone(), cache.clock.clone()).unwrap());
    let now = seconds(&*cache.clock);
    let broker = TestBroker::start_on(cache, policy(), None, |setup| {
        (setup.auth.tls, setup.auth.issuers, setup.config.server.loopback) = (Some(tls), Some(issuers), false);
    });
    let token = |subject: &str| signer.token(ISSUER, subject, now);
    let runner = connect(&broker, &federation.a, Some(&federation.a.workload(RUNNER))).await;
    assert_eq!(whoami_with(&runner, &token(RUNNER)).await.unwrap(), RUNNER);
    for (token, problem) in [
        (token("spiffe://a.example/ns/ci/sa/other"), "name different callers"),
        (token(SUBJECT), "name different callers"),
        ("nonsense".to_owned(), "is not a JSON Web Token"),
    ] {
        let error = whoami_with(&runner, &token).await.unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated);
        assert!(error.message().contains(problem), "{error}");
    }
    let anonymous = connect(&broker, &federation.a, None).await;
    assert!(whoami(&anonymous).await.unwrap_err().message().contains("send a bearer token"));
    assert_eq!(whoami_with(&anonymous, &token(SUBJECT)).await.unwrap(), format!("jwt:blue:{SUBJECT}"));
    broker.stop().await;
}

#[tokio::test]
async fn token_is_rejected_if_no_issuer_is_configured() {
    let federation = Federation::new();
    let broker = federation.broker();
    let runner = connect(&broker, &federation.a, Some(&federation.a.workload(RUNNER))).await;
    let error = whoami_with(&runner, "a.b.c").await.unwrap_err();
    assert!(error.message().contains("accepts no bearer tokens"), "{error}");
    let mut health = tonic::Request::new(HealthCheckRequest::default());
    health.metadata_mut().insert("authorization", "Bearer a.b.c".parse().unwrap());
    assert!(HealthClient::new(runner.clone()).check(health).await.is_ok(), "health needs no authentication");
    let mut client = RegistryCredentialsServiceClient::new(runner.clone());
    for headers in [&["Basic QVdTOng="][..], &["Bearer a.b.c", "Bearer d.e.f"]] {
        let mut request = tonic::Request::new(pb::GetCallerIdentityRequest {});
        for header in headers {
            request.metadata_mut().append("authorization", header.parse().unwrap());
        }
        let error = client.get_caller_identity(request).await.unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated);
        assert!(error.message().contains("authorization header"), "{error}");
    }
    broker.stop().await;
}

fn policy() -> Policy {
    let grant = |id: &str, caller, registry| Grant {
        id: id.into(),
        callers: vec![caller],
        registries: vec![registry],
        profile: Some("default".into()),
        effect: Effect::Allow,
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

async fn connect(broker: &TestBroker, roots: &Authority, identity: Option<&Pair>) -> Channel {
    connect_to(broker.tcp, roots, identity).await
}

async fn connect_to(address: SocketAddr, roots: &Authority, identity: Option<&Pair>) -> Channel {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(roots.pem())).domain_name(BROKER);
    if let Some(pair) = identity {
        tls = tls.identity(Identity::from_pem(&pair.certificate, &pair.key));
    }
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
    endpoint.connect().await.unwrap()
}

async fn whoami(channel: &Channel) -> Result<pb::GetCallerIdentityResponse, Status> {
    let mut client = RegistryCredentialsServiceClient::new(channel.clone());
    client.get_caller_identity(pb::GetCallerIdentityRequest {}).await.map(tonic::Response::into_inner)
}

async fn get(channel: &Channel, host: &str) -> Result<String, Status> {
    let mut client = RegistryCredentialsServiceClient::new(channel.clone());
    let answer = client.get_registry_credentials(request(host)).await?;
    Ok(answer.into_inner().credentials.unwrap().registry)
}

#[tokio::test]
async fn certificate_names_the_caller_that_grants_authorize() {
    let federation = Federation::new();
    let broker = federation.broker();
    let runner = connect(&broker, &federation.a, Some(&federation.a.workload(RUNNER))).await;
    let identity = whoami(&runner).await.unwrap();
    assert_eq!((identity.principal.as_str(), identity.grant_ids), (RUNNER, vec!["runners".to_owned()]));
    assert!(identity.proof.contains("SPIFFE"), "{}", identity.proof);
    assert_eq!(get(&runner, HOST).await.unwrap(), HOST);
    assert_eq!(get(&runner, "public.ecr.aws").await.unwrap_err().code(), Code::PermissionDenied);

    let host = federation.hosts.sign(&leaf(&[dns("BUILD-1.corp.example"), dns("other.example")]));
    let host = connect(&broker, &federation.a, Some(&host)).await;
    assert_eq!(whoami(&host).await.unwrap().principal, format!("dns:{HOST_NAME}"));
    assert_eq!(get(&host, "public.ecr.aws").await.unwrap(), "public.ecr.aws");
    assert_eq!(get(&host, HOST).await.unwrap_err().code(), Code::PermissionDenied);

    let guest = federation.b.workload("spiffe://b.example/ns/ci/sa/runner");
    let guest = connect(&broker, &federation.a, Some(&guest)).await;
    assert_eq!(whoami(&guest).await.unwrap().grant_ids, Vec::<String>::new());
    assert_eq!(get(&guest, HOST).await.unwrap_err().code(), Code::PermissionDenied);
    broker.stop().await;
}

#[tokio::test]
async fn caller_without_certificate_gets_advice_and_health() {
    let federation = Federation::new();
    let broker = federation.broker();
    let anonymous = connect(&broker, &federation.a, None).await;
    for error in [whoami(&anonymous).await.unwrap_err(), get(&anonymous, HOST).await.unwrap_err()] {
        assert_eq!(error.code(), Code::Unauthenticated);
        assert!(error.message().contains("present a client certificate"), "{error}");
    }
    assert!(HealthClient::new(anonymous).check(HealthCheckRequest::default()).await.is_ok());
    assert_eq!(broker.source.calls(), 0);
    broker.stop().await;
}

#[tokio::test]
async fn expired_certificate_ends_the_rights_of_its_connection() {
    let federation = Federation::new();
    let broker = federation.broker();
    let mut params = leaf(&[uri(RUNNER)]);
    // The test's clock starts at 2027-01-15.
    params.not_after = date_time_ymd(2027, 1, 16);
    let runner = connect(&broker, &federation.a, Some(&federation.a.sign(&params))).await;
    assert_eq!(get(&runner, HOST).await.unwrap(), HOST);
    broker.clock.advance(Duration::from_hours(24));
    let error = get(&runner, HOST).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
    assert!(error.message().contains("client certificate has expired since the connection began"), "{error}");
    broker.stop().await;
}

fn client_config(
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
async fn handshake(tls: &Arc<Tls>, config: Arc<ClientConfig>) -> Result<String, String> {
    let (here, there) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(BROKER).unwrap();
    let client = tokio_rustls::TlsConnector::from(config).connect(name, there);
    let (accepted, client) = tokio::join!(tls.accept(here, Application::Http2), client);
    drop(client);
    let (_, proof) = accepted.map_err(|error| error.to_string())?;
    Ok(proof.unwrap().caller()?.to_string())
}

/// A certificate for the configured host, and beside its name a URI of bytes that are not valid text.
fn unreadable_uri() -> CertificateParams {
    let name = [&[0x82, u8::try_from(HOST_NAME.len()).unwrap()], HOST_NAME.as_bytes(), &[0x86, 2, 0xff, 0xfe]].concat();
    let names = [&[0x30, u8::try_from(name.len()).unwrap()], name.as_slice()].concat();
    let mut params = leaf(&[]);
    params.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], names)];
    params
}

#[tokio::test]
async fn certificate_needs_roots_of_its_name_and_a_workload_usage() {
    let federation = Federation::new();
    let Federation { a, b, hosts, impostor, .. } = &federation;
    let tls = Arc::new(Tls::load(federation.settings.clone(), ManualClock::new()).unwrap());
    let changed = |change: fn(&mut CertificateParams)| {
        let mut params = leaf(&[uri(RUNNER)]);
        change(&mut params);
        params
    };
    let b_s = "spiffe://b.example/ns/ci/sa/runner";
    for (case, pair, expected) in [
        ("its own authority", a.workload(RUNNER), Ok(RUNNER)),
        ("the other domain's own authority", b.workload(b_s), Ok(b_s)),
        ("the other domain's authority", b.workload(RUNNER), Err("UnknownIssuer")),
        ("and the other way round", a.workload(b_s), Err("UnknownIssuer")),
        ("the hosts' authority", hosts.workload(RUNNER), Err("UnknownIssuer")),
        ("a second authority of the same name", impostor.workload(RUNNER), Err("BadSignature")),
        (
            "a domain without roots",
            a.workload("spiffe://c.example/x"),
            Err("trust domain c.example is not in authentication.client_ca"),
        ),
        ("a domain in upper case", a.workload("spiffe://A.example/x"), Err("is not a workload's SPIFFE ID")),
        ("a domain and no path", a.workload("spiffe://a.example"), Err("is not a workload's SPIFFE ID")),
        ("another scheme", a.workload("https://a.example/ns/ci/sa/runner"), Err("is not a workload's SPIFFE ID")),
        ("dots", a.workload("spiffe://a.example/ns/../ns/ci/sa/runner"), Err("is not a workload's SPIFFE ID")),
        ("a query", a.workload("spiffe://a.example/ns?x"), Err("is not a workload's SPIFFE ID")),
        ("two ids", a.sign(&leaf(&[uri(RUNNER), uri(b_s)])), Err("several URIs")),
        ("the same id twice", a.sign(&leaf(&[uri(RUNNER), uri(RUNNER)])), Err("several URIs")),
        ("an id and a name", a.sign(&leaf(&[dns(HOST_NAME), uri(RUNNER)])), Ok(RUNNER)),
        (
            "a name beside a URI that is not an ID",
            hosts.sign(&leaf(&[dns(HOST_NAME), uri("https://x/y")])),
            Err("is not a workload's SPIFFE ID"),
        ),
        ("a host", hosts.sign(&leaf(&[dns(HOST_NAME)])), Ok("dns:build-1.corp.example")),
        ("a host by another authority", a.sign(&leaf(&[dns(HOST_NAME)])), Err("UnknownIssuer")),
        (
            "a host that is not listed",
            hosts.sign(&leaf(&[dns("build-3.corp.example")])),
            Err("no DNS name that authentication.client_dns lists"),
        ),
        ("a wildcard", hosts.sign(&leaf(&[dns("*.corp.example")])), Err("neither a SPIFFE ID nor a DNS name")),
        (
            "two hosts",
            hosts.sign(&leaf(&[dns(HOST_NAME), dns("build-2.corp.example")])),
            Err("several DNS names that authentication.client_dns lists"),
        ),
        ("a name, and a URI that cannot be read", hosts.sign(&unreadable_uri()), Err("is malformed")),
        ("no name", a.sign(&leaf(&[])), Err("neither a SPIFFE ID nor a DNS name")),
        ("an expired one", a.sign(&changed(|one| one.not_after = date_time_ymd(2027, 1, 14))), Err("expired")),
        (
            "one that is not valid yet",
            a.sign(&changed(|one| one.not_before = date_time_ymd(2027, 1, 16))),
            Err("not valid yet"),
        ),
        (
            "an authority",
            a.sign(&changed(|one| one.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained))),
            Err("is a CA certificate"),
        ),
        (
            "one that may sign others",
            a.sign(&changed(|one| one.key_usages.push(KeyUsagePurpose::KeyCertSign))),
            Err("may sign others"),
        ),
        (
            "one that may not sign",
            a.sign(&changed(|one| one.key_usages = vec![KeyUsagePurpose::KeyAgreement])),
            Err("no key usage digitalSignature"),
        ),
        ("one without key usage", a.sign(&changed(|one| one.key_usages.clear())), Err("no key usage digitalSignature")),
        (
            "a server certificate",
            a.sign(&changed(|one| one.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])),
            Err("does not allow extended key usage"),
        ),
    ] {
        let config = client_config(&federation, &[&rustls::version::TLS13], &pair);
        match (handshake(&tls, Arc::new(config)).await, expected) {
            (Ok(caller), Ok(expected)) => assert_eq!(caller, expected, "{case}"),
            (Err(problem), Err(expected)) => {
                assert!(problem.to_lowercase().contains(&expected.to_lowercase()), "{case}: {problem}");
            }
            (other, _) => panic!("{case}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn failed_handshakes_block_their_origin_for_a_while() {
    let federation = Federation::new();
    let broker = federation.broker();
    let limit = 10 * limits_settings().failures_per_second.get();
    // Plaintext gets a TLS alert, and a blocked origin nothing.
    let answer = async || {
        let mut stream = tokio::net::TcpStream::connect(broker.tcp).await.unwrap();
        // The broker may have closed the connection.
        _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
        let mut answer = Vec::new();
        _ = stream.read_to_end(&mut answer).await;
        answer
    };
    for number in 0..limit {
        assert!(!answer().await.is_empty(), "{number}");
    }
    assert!(answer().await.is_empty());
    assert!(broker.unix_client().await.get_caller_identity(pb::GetCallerIdentityRequest {}).await.is_ok());
    broker.clock.advance(Duration::from_secs(1));
    let runner = connect(&broker, &federation.a, Some(&federation.a.workload(RUNNER))).await;
    assert!(whoami(&runner).await.is_ok());
    broker.stop().await;
}

/// Half of the peers are silent, half stop in the middle of a record.
#[tokio::test(flavor = "multi_thread")]
async fn stalled_handshakes_time_out_and_block_no_other_client() {
    let federation = Federation::new();
    let broker = federation.broker();
    let began = tokio::time::Instant::now();
    let silent = (0..200).map(|number| async move {
        let mut stream = tokio::net::TcpStream::connect(broker.tcp).await.unwrap();
        // The header of a record that claims 512 bytes.
        if number % 2 == 0 {
            stream.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
        }
        _ = stream.read_to_end(&mut Vec::new()).await;
        began.elapsed()
    });
    let silent = tokio::spawn(futures_util::future::join_all(silent.collect::<Vec<_>>()));
    let mut calls = 0;
    while !silent.is_finished() {
        let runner = connect(&broker, &federation.a, Some(&federation.a.workload(RUNNER))).await;
        whoami(&runner).await.unwrap();
        calls += 1;
    }
    let last = silent.await.unwrap().into_iter().max().unwrap();
    println!("200 stalled handshakes: the last one ended after {last:.1?}; {calls} calls succeeded meanwhile");
    assert!(last < Duration::from_secs(10) && calls > 1, "{last:?}, {calls}");
    broker.stop().await;
}

#[tokio::test]
async fn sessions_are_not_resumed_and_tls_1_2_is_rejected() {
    let federation = Federation::new();
    let tls = Arc::new(Tls::load(federation.settings.clone(), ManualClock::new()).unwrap());
    let runner = federation.a.workload(RUNNER);
    // The client keeps sessions to resume.
    let config = Arc::new(client_config(&federation, &[&rustls::version::TLS13], &runner));
    for _ in 0..2 {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from(BROKER).unwrap();
        let client = tokio_rustls::TlsConnector::from(Arc::clone(&config)).connect(name, there);
        let (accepted, client) = tokio::join!(tls.accept(here, Application::Http2), client);
        let (mut server, _) = accepted.unwrap();
        assert_eq!(server.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
        // Session tickets would arrive before the first byte.
        server.write_all(b"x").await.unwrap();
        server.flush().await.unwrap();
        assert_eq!(client.unwrap().read_u8().await.unwrap(), b'x');
    }
    let old = client_config(&federation, &[&rustls::version::TLS12], &runner);
    let problem = handshake(&tls, Arc::new(old)).await.unwrap_err();
    assert!(problem.contains("Tls12NotOffered") || problem.contains("SupportedVersionsExtensionRequired"), "{problem}");
}

#[test]
fn untrusted_or_unusable_tls_files_are_rejected() {
    let federation = Federation::new();
    let load = |settings: &Settings| {
        Tls::load(settings.clone(), ManualClock::new()).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(load(&federation.settings), Ok(()));
    let mode = |mode| fs::set_permissions(&federation.a.file, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o666);
    assert!(load(&federation.settings).unwrap_err().contains("is world-writable"));
    mode(0o644);
    // With a leaf among the roots, its key could sign for the whole trust domain.
    fs::write(&federation.a.file, federation.a.pem() + &federation.a.workload(RUNNER).certificate).unwrap();
    assert!(load(&federation.settings).unwrap_err().contains("certificate 2 is not a CA certificate"));
    fs::write(&federation.a.file, "").unwrap();
    assert!(load(&federation.settings).unwrap_err().contains("holds no certificate"));
    let pipe = Settings { key: "/dev/null".into(), ..federation.settings.clone() };
    assert!(load(&pipe).unwrap_err().contains("is not a regular file"));
    let none = Settings { key: "/no/such.key".into(), ..federation.settings };
    assert!(load(&none).unwrap_err().contains("cannot be read"));
}

#[test]
fn key_that_does_not_fit_the_certificate_is_named_with_the_fix() {
    let federation = Federation::new();
    let problem = || Tls::load(federation.settings.clone(), ManualClock::new()).map(drop).unwrap_err().problem;
    let own = fs::read_to_string(&federation.settings.certificate).unwrap();
    // The CA's certificate stands before the broker's.
    fs::write(&federation.settings.certificate, federation.a.pem() + &own).unwrap();
    assert!(problem().starts_with("is not the key of the first certificate in "), "{}", problem());
    fs::write(&federation.settings.certificate, own).unwrap();
    fs::write(&federation.settings.key, federation.a.workload(RUNNER).key).unwrap();
    assert!(problem().contains("name the key it was issued for"), "{}", problem());
    for pem in ["-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n", ""] {
        fs::write(&federation.settings.key, pem).unwrap();
        assert_eq!(problem().contains("openssl pkey -in FILE"), !pem.is_empty(), "{}", problem());
    }
}

#[test]
fn certificate_that_clients_reject_is_a_warning_of_serve_and_config_check() {
    let served = Served::new();
    let path = served.config.to_str().unwrap();
    let check = || run(&["config", "check", "--config", path], &[]);
    assert!(check().out().contains("is valid"));
    let mut params = leaf(&[dns(BROKER)]);
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    served.federation.a.sign(&params).write(served.federation.directory.path(), "server");
    let checked = check();
    assert_eq!(checked.code, 0, "{checked:?}");
    let fix = "add -addext basicConstraints=critical,CA:FALSE";
    let warning = checked.error();
    assert!(warning.contains("warning: server.tls.certificate: ") && warning.contains(fix), "{warning}");
    let broker = Server::start(&["serve", "--config", path, "--listen", "127.0.0.1:0"], &[]);
    broker.until_logged("broker certificate has a mistake");
    let refused = served.whoami(&broker, &served.federation.a.workload(RUNNER));
    assert!(refused.error().contains("certificate is a CA certificate, which must not serve"), "{refused:?}");
    assert!(broker.stop().contains(fix));
}

/// The program, and the files that it reads.
struct Served {
    federation: Federation,
    config: PathBuf,
}

impl Served {
    fn new() -> Self {
        let federation = Federation::new();
        let config = federation.directory.path().join("broker.toml");
        let Settings { certificate, key, .. } = &federation.settings;
        let text = format!(
            "server.tls = {{ certificate = \"{}\", key = \"{}\" }}\n\
             authentication.client_ca = {{ \"a.example\" = \"{}\" }}\n\
             authentication.client_dns = {{ {HOST_NAME:?} = \"{}\" }}\n\
             [[grants]]\nid = \"runners\"\ncallers = [{{ spiffe = \"spiffe://a.example/ns/ci/sa/*\" }}, {{ dns = {HOST_NAME:?} }}]\n\
             registries = [{{ accounts = [\"123456789012\"], regions = [\"*\"] }}]\n",
            certificate.display(),
            key.display(),
            federation.a.file.display(),
            federation.hosts.file.display(),
        );
        fs::write(&config, text).unwrap();
        Self { federation, config }
    }

    fn serve(&self) -> Server {
        let config = self.config.to_str().unwrap();
        Server::start(&["serve", "--simulate", "--config", config, "--listen", "127.0.0.1:0"], &[])
    }

    /// Runs the program's client with a certificate.
    fn whoami(&self, broker: &Server, pair: &Pair) -> program::Ended {
        let directory = self.federation.directory.path();
        let (certificate, key) = pair.write(directory, "client");
        let ca = directory.join("trusted.pem");
        fs::write(&ca, self.federation.a.pem() + &self.federation.impostor.pem()).unwrap();
        let arguments = [
            "whoami",
            "--address",
            &broker.address.replace("127.0.0.1", "localhost"),
            "--tls-ca",
            ca.to_str().unwrap(),
        ];
        let identity = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
        run(&[&arguments[..], &identity].concat(), &[])
    }
}

#[test]
fn program_authenticates_certificates_and_reloads_tls_files() {
    let served = Served::new();
    let Federation { a, impostor, hosts, directory, .. } = &served.federation;
    let broker = served.serve();
    assert!(broker.address.starts_with("grpcs://127.0.0.1:"), "{}", broker.address);
    let runner = a.workload(RUNNER);
    let identity = served.whoami(&broker, &runner).out();
    assert!(identity.contains(RUNNER) && identity.contains("runners"), "{identity}");
    let host = hosts.sign(&leaf(&[dns(HOST_NAME)]));
    assert!(served.whoami(&broker, &host).out().contains("dns:build-1.corp.example"));
    let refused = served.whoami(&broker, &impostor.workload(RUNNER));
    assert_eq!(refused.code, 5, "{refused:?}");
    broker.until_logged("invalid peer certificate: BadSignature");
    assert_eq!(served.whoami(&broker, &a.workload("spiffe://c.example/x")).code, 5);
    broker.until_logged("trust domain c.example is not in authentication.client_ca");

    // A key of another certificate changes nothing.
    let renewed = impostor.server();
    fs::write(directory.path().join("server.key"), &renewed.key).unwrap();
    signal(broker.pid(), "HUP");
    broker.until_logged("TLS files rejected; the old ones stay in force");
    assert_eq!(served.whoami(&broker, &runner).code, 0);

    // An expired certificate changes nothing.
    a.server_until(2020).write(directory.path(), "server");
    signal(broker.pid(), "HUP");
    broker.until_logged("has expired, at 2020-01-01");
    assert_eq!(served.whoami(&broker, &runner).code, 0);

    // Another CA takes over, for the broker's certificate and for the workloads.
    renewed.write(directory.path(), "server");
    fs::write(&a.file, impostor.pem()).unwrap();
    signal(broker.pid(), "HUP");
    broker.until_logged("TLS files reloaded");
    assert_eq!(served.whoami(&broker, &runner).code, 5);
    assert!(served.whoami(&broker, &impostor.workload(RUNNER)).out().contains(RUNNER));
    let log = broker.stop();
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}

#[test]
fn replaced_tls_files_are_reloaded_without_sighup() {
    let served = Served::new();
    let broker = served.serve();
    let Federation { impostor, directory, .. } = &served.federation;
    impostor.server().write(directory.path(), "server");
    broker.until_logged("TLS files reloaded");
}

#[tokio::test]
async fn connection_loses_its_rights_when_its_root_is_removed() {
    let served = Served::new();
    let Federation { a, impostor, .. } = &served.federation;
    let broker = served.serve();
    let address = broker.address.trim_start_matches("grpcs://").parse().unwrap();
    let runner = connect_to(address, a, Some(&a.workload(RUNNER))).await;
    assert_eq!(whoami(&runner).await.unwrap().principal, RUNNER);
    // A second root changes nothing for certificates of the first one.
    fs::write(&a.file, a.pem() + &impostor.pem()).unwrap();
    signal(broker.pid(), "HUP");
    broker.until_logged("TLS files reloaded");
    assert_eq!(whoami(&runner).await.unwrap().principal, RUNNER);

    fs::write(&a.file, impostor.pem()).unwrap();
    let other = impostor.workload(RUNNER);
    signal(broker.pid(), "HUP");
    broker.until_logged_again("TLS files reloaded");
    let error = whoami(&runner).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
    assert!(error.message().contains("is no longer signed by a valid root of the broker"), "{error}");
    assert_eq!(get(&runner, HOST).await.unwrap_err().code(), Code::Unauthenticated);
    let other = connect_to(address, a, Some(&other)).await;
    assert_eq!(whoami(&other).await.unwrap().principal, RUNNER);
}

/// The test's clock starts at 2027-01-15.
#[tokio::test]
async fn root_outside_its_validity_vouches_for_nothing() {
    let mut federation = Federation::new();
    let directory = federation.directory.path();
    let root = |name, from, until| Authority::between(directory, "one.pem", name, from, until);
    let (expired, expiring, next) = (root("old", 2020, 2026), root("now", 2020, 2028), root("next", 2028, 2040));
    fs::write(&federation.a.file, [expired.pem(), expiring.pem(), next.pem()].concat()).unwrap();
    federation.settings.dns_names.clear();
    let clock = ManualClock::new();
    let tls = Arc::new(Tls::load(federation.settings.clone(), clock.clone()).unwrap());
    let outcome = async |authority: &Authority| {
        let config = client_config(&federation, &[&rustls::version::TLS13], &authority.workload(RUNNER));
        handshake(&tls, Arc::new(config)).await
    };
    let mistakes = || tls.authority_mistakes().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(outcome(&expired).await.unwrap_err().contains("UnknownIssuer"));
    assert_eq!(outcome(&expiring).await.as_deref(), Ok(RUNNER));
    assert!(outcome(&next).await.unwrap_err().contains("UnknownIssuer"));
    let start = mistakes();
    assert!(start.contains("certificate 1 has expired, at 2026-01-01T00:00:00Z; it vouches for no client"), "{start}");
    assert!(start.contains("certificate 3 is not valid until 2028-01-01T00:00:00Z"), "{start}");
    assert_eq!(start.lines().count(), 2, "{start}");

    clock.advance(Duration::from_hours(365 * 24));
    assert!(outcome(&expiring).await.unwrap_err().contains("UnknownIssuer"));
    assert_eq!(outcome(&next).await.as_deref(), Ok(RUNNER), "a root that was published early");
    let later = mistakes();
    assert!(later.contains("certificate 2 has expired, at 2028-01-01") && !later.contains("certificate 3"), "{later}");
    // Time may be set back.
    clock.step_wall_back(Duration::from_hours(365 * 24));
    assert_eq!(outcome(&expiring).await.as_deref(), Ok(RUNNER));
}

#[tokio::test]
async fn expired_root_ends_the_rights_of_open_connections() {
    let federation = Federation::new();
    let expiring = Authority::between(federation.directory.path(), "one.pem", "now", 2020, 2028);
    fs::write(&federation.a.file, expiring.pem()).unwrap();
    let broker = federation.broker();
    let runner = connect(&broker, &federation.a, Some(&expiring.workload(RUNNER))).await;
    assert_eq!(whoami(&runner).await.unwrap().principal, RUNNER);
    broker.clock.advance(Duration::from_hours(365 * 24));
    for _ in 0..2 {
        let error = whoami(&runner).await.unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated);
        assert!(error.message().contains("is no longer signed by a valid root of the broker"), "{error}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn intermediate_that_may_not_sign_certificates_is_refused() {
    let federation = Federation::new();
    let root = OpensslCa::root(federation.directory.path(), "openssl");
    fs::write(&federation.a.file, root.certificate()).unwrap();
    let tls = Arc::new(Tls::load(federation.settings.clone(), ManualClock::new()).unwrap());
    let usage = |usage: &str| ROOT.replace("keyCertSign,cRLSign", usage);
    for (name, extensions, accepted) in [
        ("signs", ROOT.to_owned(), true),
        ("no-key-usage", "basicConstraints=critical,CA:TRUE".to_owned(), true),
        ("only-lists", usage("cRLSign"), false),
        ("only-signatures", usage("digitalSignature"), false),
    ] {
        let intermediate = root.intermediate(name, &extensions);
        let Pair { certificate, key } = intermediate.workload("runner", RUNNER);
        let chain = Pair { certificate: certificate + &intermediate.certificate(), key };
        let config = client_config(&federation, &[&rustls::version::TLS13], &chain);
        let outcome = handshake(&tls, Arc::new(config)).await;
        if accepted {
            assert_eq!(outcome.as_deref(), Ok(RUNNER), "{name}");
        } else {
            assert!(outcome.unwrap_err().contains("without key usage keyCertSign"), "{name}");
        }
    }
}

#[tokio::test]
async fn revoked_certificate_and_intermediate_are_refused_past_next_update() {
    let mut federation = Federation::new();
    let directory = federation.directory.path().to_owned();
    let root = OpensslCa::root(&directory, "openssl");
    let intermediate = root.intermediate("between", ROOT);
    fs::write(&federation.a.file, root.certificate()).unwrap();
    let (good, bad) = (root.workload("good", RUNNER), root.workload("bad", RUNNER));
    let Pair { certificate, key } = intermediate.workload("below", RUNNER);
    let below = Pair { certificate: certificate + &intermediate.certificate(), key };
    let crl = directory.join("a.crl");
    federation.settings.revocations.insert("a.example".to_owned(), crl.clone());
    let load = || Tls::load(federation.settings.clone(), ManualClock::new()).map(Arc::new);
    let outcome = async |tls: &Arc<Tls>, pair: &Pair| {
        let config = client_config(&federation, &[&rustls::version::TLS13], pair);
        handshake(tls, Arc::new(config)).await
    };
    fs::write(&crl, root.revocation_list(&["-crldays", "3000"])).unwrap();
    let tls = load().unwrap();
    assert!(tls.authority_mistakes().is_empty());
    for pair in [&good, &bad, &below] {
        assert_eq!(outcome(&tls, pair).await.as_deref(), Ok(RUNNER));
    }
    root.revoke("bad");
    let past = ["-crl_lastupdate", "20250101000000Z", "-crl_nextupdate", "20260101000000Z"];
    let pem = root.revocation_list(&past);
    for list in [pem.clone().into_bytes(), root.revocation_list_der()] {
        fs::write(&crl, list).unwrap();
        let tls = load().unwrap();
        assert_eq!(outcome(&tls, &good).await.as_deref(), Ok(RUNNER));
        assert!(outcome(&tls, &bad).await.unwrap_err().contains("Revoked"));
        let mistakes = tls.authority_mistakes();
        let stale = "revocation list 1 is past its nextUpdate, 2026-01-01T00:00:00Z; it stays in force";
        assert!(mistakes.len() == 1 && mistakes[0].to_string().contains(stale), "{mistakes:?}");
    }
    // The whole path is checked, and lists of several CAs are in one file.
    fs::copy(directory.join("between/ca.crt"), directory.join("openssl/between.crt")).unwrap();
    root.revoke("between");
    fs::write(&crl, root.revocation_list(&["-crldays", "3000"]) + &intermediate.revocation_list(&["-crldays", "3000"]))
        .unwrap();
    assert!(outcome(&load().unwrap(), &below).await.unwrap_err().contains("Revoked"));

    let impostor = OpensslCa::root(&directory.join("between"), "openssl");
    for (list, problem) in [
        (
            impostor.revocation_list(&["-crldays", "30"]),
            "revocation list 1 has the name of a root, but not its signature",
        ),
        (pem.replace("X509 CRL", "CERTIFICATE"), "holds no revocation list in PEM or DER form"),
        (String::new(), "holds no revocation list"),
        ("0\0".to_owned(), "is malformed"),
    ] {
        fs::write(&crl, list).unwrap();
        let error = load().unwrap_err().to_string();
        assert!(error.contains("a.crl") && error.contains(problem), "{problem}: {error}");
    }
    fs::write(&crl, pem).unwrap();
    fs::set_permissions(&crl, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(load().unwrap_err().to_string().contains("is world-writable"));
}

/// CAs append, and webpki uses the first list with the issuer's name.
#[tokio::test]
async fn only_the_newest_list_of_a_key_counts() {
    let listed = Listed::new();
    let root = OpensslCa::root(&listed.directory(), "openssl");
    fs::write(&listed.federation.a.file, root.certificate()).unwrap();
    let (good, bad) = (root.workload("good", RUNNER), root.workload("bad", RUNNER));
    let list = |more: &[&str]| root.revocation_list(&[&["-crldays", "3000"], more].concat());
    let (old, old_point) = (list(&[]), list(&["-crlexts", "one_point"]));
    root.revoke("bad");
    let new = list(&[]);
    for lists in [[&old, &new], [&new, &old]] {
        let tls = listed.load(&lists.map(String::as_str).concat()).unwrap();
        assert_eq!(listed.outcome(&tls, &good).await.as_deref(), Ok(RUNNER));
        assert!(listed.outcome(&tls, &bad).await.unwrap_err().contains("Revoked"));
    }
    // Lists of several distribution points are parts of one: an empty one withdraws nothing.
    let newest_point = list(&["-crlexts", "one_point"]);
    for lists in [old_point.clone() + &new, new.clone() + &old_point, old + &newest_point] {
        assert!(listed.outcome(&listed.load(&lists).unwrap(), &bad).await.unwrap_err().contains("Revoked"));
    }
    for (extensions, problem) in [
        ("delta", "revocation list 2 is a delta list"),
        ("users", "revocation list 2 has an issuing distribution point that limits its scope"),
    ] {
        let error = listed.load(&(new.clone() + &list(&["-crlexts", extensions]))).unwrap_err().to_string();
        assert!(error.contains("a.crl") && error.contains(problem), "{error}");
    }
}

/// SPIRE's roots have one name, and so have a CA's before and after a change of its key.
#[tokio::test]
async fn keys_of_one_name_have_their_own_lists() {
    let listed = Listed::new();
    let (one, two) = (listed.directory().join("one"), listed.directory().join("two"));
    let roots = [&one, &two].map(|directory| {
        fs::create_dir(directory).unwrap();
        OpensslCa::root(directory, "openssl")
    });
    let list = |ca: &OpensslCa| ca.revocation_list(&["-crldays", "3000", "-crlexts", "key"]);
    fs::write(&listed.federation.a.file, roots.each_ref().map(OpensslCa::certificate).concat()).unwrap();
    let pairs = roots.each_ref().map(|root| (root.workload("good", RUNNER), root.workload("bad", RUNNER)));
    roots[1].revoke("bad");
    // The second certificate of each root has the serial number of no other root's.
    let lists = roots.each_ref().map(list);
    let both = listed.load(&lists.concat()).unwrap();
    assert!(both.authority_mistakes().is_empty(), "{:?}", both.authority_mistakes());
    for accepted in [&pairs[0].0, &pairs[0].1, &pairs[1].0] {
        assert_eq!(listed.outcome(&both, accepted).await.as_deref(), Ok(RUNNER));
    }
    assert!(listed.outcome(&both, &pairs[1].1).await.unwrap_err().contains("Revoked"));
    // Without the first root, its list is left over: reported, and not in the way.
    fs::write(&listed.federation.a.file, roots[1].certificate()).unwrap();
    let rotated = listed.load(&lists.concat()).unwrap();
    let mistakes = rotated.authority_mistakes();
    let left_over = "revocation list 1 has the name of a root, and another key's signature";
    assert!(mistakes.len() == 1 && mistakes[0].to_string().contains(left_over), "{mistakes:?}");
    assert_eq!(listed.outcome(&rotated, &pairs[1].0).await.as_deref(), Ok(RUNNER));
    assert!(listed.outcome(&rotated, &pairs[1].1).await.unwrap_err().contains("Revoked"));

    // Intermediates of one name: each has its own list, or none of the name has one.
    let between = [&one, &two].map(|directory| roots[1].intermediate_in(directory, "between", ROOT));
    let chains = between.each_ref().map(|ca| {
        let Pair { certificate, key } = ca.workload("below", RUNNER);
        Pair { certificate: certificate + &ca.certificate(), key }
    });
    for chain in &chains {
        assert_eq!(listed.outcome(&rotated, chain).await.as_deref(), Ok(RUNNER));
    }
    between[1].revoke("below");
    let lists = between.each_ref().map(list);
    let tls = listed.load(&lists.concat()).unwrap();
    assert_eq!(listed.outcome(&tls, &chains[0]).await.as_deref(), Ok(RUNNER));
    assert!(listed.outcome(&tls, &chains[1]).await.unwrap_err().contains("Revoked"));
    let tls = listed.load(&lists[0]).unwrap();
    assert_eq!(listed.outcome(&tls, &chains[0]).await.as_deref(), Ok(RUNNER));
    listed.outcome(&tls, &chains[1]).await.unwrap_err();
}

#[tokio::test]
async fn revocation_list_above_1_mib_is_used_up_to_16_mib() {
    let listed = Listed::new();
    let root = OpensslCa::root(&listed.directory(), "openssl");
    fs::write(&listed.federation.a.file, root.certificate()).unwrap();
    let (good, bad) = (root.workload("good", RUNNER), root.workload("bad", RUNNER));
    root.revoke_many(40_000);
    root.revoke("bad");
    let list = root.revocation_list(&["-crldays", "3000"]);
    assert!(list.len() > 1 << 20);
    let tls = listed.load(&list).unwrap();
    assert_eq!(listed.outcome(&tls, &good).await.as_deref(), Ok(RUNNER));
    assert!(listed.outcome(&tls, &bad).await.unwrap_err().contains("Revoked"));
    let error = listed.load(&" ".repeat((16 << 20) + 1)).unwrap_err().to_string();
    assert!(error.contains("is longer than 16 MiB"), "{error}");
}

/// Revocation lists of the first trust domain.
struct Listed {
    federation: Federation,
    file: PathBuf,
}

impl Listed {
    fn new() -> Self {
        let mut federation = Federation::new();
        let file = federation.directory.path().join("a.crl");
        federation.settings.revocations.insert("a.example".to_owned(), file.clone());
        Self { federation, file }
    }

    fn directory(&self) -> PathBuf {
        self.federation.directory.path().to_owned()
    }

    fn load(&self, lists: &str) -> Result<Arc<Tls>, TlsError> {
        fs::write(&self.file, lists).unwrap();
        Tls::load(self.federation.settings.clone(), ManualClock::new()).map(Arc::new)
    }

    async fn outcome(&self, tls: &Arc<Tls>, pair: &Pair) -> Result<String, String> {
        let config = client_config(&self.federation, &[&rustls::version::TLS13], pair);
        handshake(tls, Arc::new(config)).await
    }
}

/// A list that was removed or damaged held up the removal of a root.
#[tokio::test]
async fn program_removes_a_root_while_a_revocation_list_is_broken() {
    let served = Served::new();
    let directory = served.federation.directory.path();
    let (root, removed) = (OpensslCa::root(directory, "openssl"), OpensslCa::root(directory, "removed"));
    let roots = &served.federation.a.file;
    fs::write(roots, root.certificate() + &removed.certificate()).unwrap();
    let (good, bad) = (root.workload("good", RUNNER), root.workload("bad", RUNNER));
    let other = removed.workload("other", RUNNER);
    root.revoke("bad");
    let crl = directory.join("a.crl");
    fs::write(&crl, root.revocation_list(&["-crldays", "30"])).unwrap();
    let text = fs::read_to_string(&served.config).unwrap();
    let setting = format!("authentication.client_crl = {{ \"a.example\" = \"{}\" }}\n", crl.display());
    fs::write(&served.config, setting + &text).unwrap();
    let broker = served.serve();
    let address = broker.address.trim_start_matches("grpcs://").parse().unwrap();
    let a = &served.federation.a;
    let (open, gone) = (connect_to(address, a, Some(&good)).await, connect_to(address, a, Some(&other)).await);
    assert_eq!(whoami(&gone).await.unwrap().principal, RUNNER);

    fs::remove_file(&crl).unwrap();
    fs::write(roots, root.certificate()).unwrap();
    broker.until_logged("TLS files reloaded");
    broker.until_logged("revocation lists rejected; the last good ones stay in force");
    assert_eq!(whoami(&gone).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(whoami(&open).await.unwrap().principal, RUNNER);
    assert!(served.whoami(&broker, &bad).error().contains("CertificateRevoked"));
    let check = run(&["config", "check", "--config", served.config.to_str().unwrap()], &[]);
    assert!(check.code == 1 && check.error().contains("no such file"), "{check:?}");
}

#[tokio::test]
async fn program_refuses_a_revoked_certificate_on_its_open_connection() {
    let served = Served::new();
    let directory = served.federation.directory.path();
    let root = OpensslCa::root(directory, "openssl");
    fs::write(&served.federation.a.file, root.certificate()).unwrap();
    let (good, bad) = (root.workload("good", RUNNER), root.workload("bad", RUNNER));
    let crl = directory.join("a.crl");
    fs::write(&crl, root.revocation_list(&["-crldays", "30"])).unwrap();
    let text = fs::read_to_string(&served.config).unwrap();
    let setting = format!("authentication.client_crl = {{ \"a.example\" = \"{}\" }}\n", crl.display());
    fs::write(&served.config, setting + &text).unwrap();
    let broker = served.serve();
    let address = broker.address.trim_start_matches("grpcs://").parse().unwrap();
    let a = &served.federation.a;
    let (open, other) = (connect_to(address, a, Some(&bad)).await, connect_to(address, a, Some(&good)).await);
    assert_eq!(whoami(&open).await.unwrap().principal, RUNNER);

    root.revoke("bad");
    let past = ["-crl_lastupdate", "20250101000000Z", "-crl_nextupdate", "20260101000000Z"];
    fs::write(&crl, root.revocation_list(&past)).unwrap();
    broker.until_logged("TLS files reloaded");
    let error = whoami(&open).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
    assert!(error.message().contains("client certificate was revoked by its CA"), "{error}");
    assert_eq!(whoami(&other).await.unwrap().principal, RUNNER);
    let refused = served.whoami(&broker, &bad);
    assert!(refused.code == 5 && refused.error().contains("CertificateRevoked"), "{refused:?}");
    broker.until_logged("invalid peer certificate: Revoked");
    broker.until_logged("is past its nextUpdate");

    fs::write(&crl, "nothing").unwrap();
    signal(broker.pid(), "HUP");
    broker.until_logged("revocation lists rejected; the last good ones stay in force");
    assert_eq!(whoami(&open).await.unwrap_err().code(), Code::Unauthenticated);
    let check = run(&["config", "check", "--config", served.config.to_str().unwrap()], &[]);
    assert!(check.code == 1 && check.error().contains("holds no revocation list in PEM or DER form"), "{check:?}");
}
