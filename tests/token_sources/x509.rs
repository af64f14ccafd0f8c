//! Clients whose certificate comes from the SPIFFE agent.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ecr_broker::authn::tls::{Settings, Tls};
use ecr_broker::policy::Policy;

use crate::certificates::Authority;
use crate::program::{Ended, program};
use crate::support::{TestBroker, TestCache};
use crate::workload_api::{self, X509Svid};

/// A broker that trusts an authority's SPIFFE IDs.
fn broker(authority: &Authority, directory: &Path) -> TestBroker {
    let (cache, domain) = (TestCache::new(), spiffe::TrustDomain::new("a.example").unwrap());
    let (certificate, key) = authority.server().write(directory, "server");
    let settings = Settings {
        certificate,
        key,
        trust_domains: BTreeMap::from([(domain, authority.file.clone())]),
        dns_names: BTreeMap::new(),
        revocations: BTreeMap::new(),
    };
    let tls = Arc::new(Tls::load(settings, cache.clock.clone()).unwrap());
    TestBroker::start_on(cache, Policy::Open, None, |setup| {
        (setup.auth.tls, setup.config.server.loopback) = (Some(tls), false);
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_connection_has_the_certificate_of_its_moment() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Arc::new(Authority::new(directory.path(), "ca.pem", "organisation"));
    let broker = broker(&authority, directory.path());
    let (issued, signer) = (AtomicUsize::new(0), Arc::clone(&authority));
    let issue = move || {
        let id = format!("spiffe://a.example/ns/ci/sa/job-{}", issued.fetch_add(1, Ordering::Relaxed));
        X509Svid::of(&id, &signer.workload(&id), &signer)
    };
    workload_api::serve(&directory.path().join("agent"), |_| None, issue);
    let socket = format!("unix://{}/agent", directory.path().display());
    let address = format!("https://localhost:{}", broker.tcp.port());
    let roots = authority.file.to_str().unwrap().to_owned();
    tokio::task::spawn_blocking(move || {
        let whoami = |environment: &[(&str, &str)]| {
            let arguments = ["whoami", "--address", &address, "--tls-ca", &roots, "--tls-source", "spiffe"];
            Ended::of(program(environment).args(arguments))
        };
        for number in 0..2 {
            let identity = whoami(&[("SPIFFE_ENDPOINT_SOCKET", &socket)]).out();
            assert!(identity.contains(&format!("spiffe://a.example/ns/ci/sa/job-{number}")), "{identity}");
        }
        let unset = whoami(&[]);
        assert!(unset.stderr.contains("tls_source spiffe: SPIFFE_ENDPOINT_SOCKET is not set; set it"), "{unset:?}");
    })
    .await
    .unwrap();
    broker.stop().await;
}
