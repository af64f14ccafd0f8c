//! Roots and intermediates of clients: their validity, their removal and their key usage.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use ecr_broker::authn::tls::Tls;
use tonic::Code;

use super::certificates::{Authority, Pair, RUNNER};
use super::federation::{Federation, client_config, connect, connect_to, get, handshake, whoami};
use super::openssl::{OpensslCa, ROOT};
use super::program::signal;
use super::served::Served;
use super::support::*;

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
