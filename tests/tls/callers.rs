//! Certificates name callers, alone and beside tokens.

use std::sync::Arc;
use std::time::Duration;

use ecr_broker::authn::tls::Tls;
use ecr_broker::metrics::Format;
use ecr_broker::pb;
use ecr_broker::pb::registry_credentials_service_client::RegistryCredentialsServiceClient;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, date_time_ymd};
use tokio::time::{advance, pause, resume};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::certificates::{RUNNER, dns, leaf, uri};
use super::federation::{Federation, HOST_NAME, client_config, connect, get, handshake, policy, whoami};
use super::support::*;
use super::tokens::{ISSUER, SUBJECT, Signer, bearing, issuers, seconds};

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

#[tokio::test]
async fn watch_ends_with_its_certificate_and_without_a_denial() {
    let federation = Federation::new();
    let broker = federation.broker();
    let mut params = leaf(&[uri(RUNNER)]);
    params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds(&*broker.clock)) + 10 * MINUTE;
    let runner = connect(&broker, &federation.a, Some(&federation.a.sign(&params))).await;
    let watching = pb::WatchRegistryCredentialsRequest { requests: vec![request(HOST)], ..Default::default() };
    let mut client = RegistryCredentialsServiceClient::new(runner);
    let mut events = client.watch_registry_credentials(watching).await.unwrap().into_inner();
    for _ in ["the credential", "the end of the snapshot"] {
        events.message().await.unwrap().unwrap();
    }
    pause();
    advance(11 * MINUTE).await;
    resume();
    let error = events.message().await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
    assert!(error.message().contains("client certificate has expired since the watch began"), "{error}");
    let metrics = broker.exposition.encode(Format::Prometheus);
    assert!(metrics.contains("ecr_broker_denials_total{reason=\"certificate\"} 0\n"), "{metrics}");
    broker.stop().await;
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
