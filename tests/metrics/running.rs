//! Metrics of a running broker: what leaves the cache, connections, denials, keys of issuers, certificates and reloads.

use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ecr_broker::address::ListenAddress;
use ecr_broker::authn::tls::{self, Tls};
use ecr_broker::cache::{CredentialCache, Settings};
use ecr_broker::config::Ops;
use ecr_broker::limits::LimitHits;
use ecr_broker::metrics::{Exposition, Format, Registry};
use ecr_broker::policy::Policy;
use tonic::Code;

use super::certificates::Authority;
use super::program::{SERVE_SIMULATED, Server, signal};
use super::scraped::Scraped;
use super::support::*;
use super::tokens::{Signer, issuers};
use super::{count, get, only_public, publish, scrape};

const DENIALS: &str = "ecr_broker_denials_total";
const IN_EFFECT: &str = "ecr_broker_config_last_reload_successful";

/// moka's own clock ends a credential, so that its lifetime is real.
#[tokio::test]
async fn credentials_that_expire_or_find_the_cache_full_count_as_evictions() {
    let (clock, mut registry) = (ManualClock::new(), Registry::default());
    let (source, hits) = (ScriptedSource::new(&clock), LimitHits::new(&mut registry));
    let settings = Settings { capacity: 2, safety_margin: Duration::ZERO, ..cache_settings() };
    let cache = CredentialCache::new(settings, source.clone(), clock, &hits, &mut registry);
    let exposition = Exposition::new(registry);
    let evicted = || {
        let scraped = Scraped::parse(&exposition.encode(Format::Prometheus));
        ["expired", "capacity", "revoked"]
            .map(|cause| count(scraped.value("ecr_broker_cache_evictions_total", &[("cause", cause)])))
    };
    for number in 0..3 {
        cache.get(lookup(&host(number))).await.unwrap();
    }
    while evicted() != [0, 1, 0] {
        cache.sweep().await;
    }
    source.then(Step::Token(Duration::from_millis(50)));
    cache.get(lookup(&host(4))).await.unwrap();
    while evicted()[0] == 0 {
        cache.sweep().await;
        tokio::task::yield_now().await;
    }
    assert_eq!(evicted(), [1, 2, 0], "the fourth found the cache full, too");
}

#[tokio::test]
async fn connections_are_counted_by_listener_before_and_after_their_proof() {
    let (cache, signer, keys) = (TestCache::new(), Signer::new("k1"), tempfile::tempdir().unwrap());
    let issuers = issuers(&signer, keys.path(), cache.clock.clone());
    let broker = TestBroker::start_on(cache, Policy::Open, None, |setup| {
        (setup.auth.issuers, setup.config.server.loopback) = (Some(issuers), false);
        let listen = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
        setup.config.server.ops = Some(Ops { listen, hosts: Vec::new(), allow_plaintext: false });
    });
    let open = || {
        let scraped = scrape(&broker);
        let of = |(listener, state)| {
            count(scraped.value("ecr_broker_connections", &[("listener", listener), ("state", state)]))
        };
        [("tcp", "unproved"), ("tcp", "proved"), ("unix", "proved"), ("aws_api", "proved"), ("ops", "proved")].map(of)
    };
    assert_eq!(open(), [0; 5]);
    let ops = broker.ops.clone().unwrap();
    let connect = |address: &str| TcpStream::connect(address).unwrap();
    let silent = connect(&broker.tcp.to_string());
    let others = (
        broker.unix_client().await,
        connect(&broker.aws_api.to_string()),
        connect(ops.strip_prefix("ops+http://").unwrap()),
    );
    while open() != [1, 0, 1, 1, 1] {
        tokio::task::yield_now().await;
    }
    drop((silent, others));
    while open() != [0; 5] {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn peers_without_proof_and_wrong_secrets_count_as_denials() {
    let (cache, signer, keys) = (TestCache::new(), Signer::new("k1"), tempfile::tempdir().unwrap());
    let issuers = issuers(&signer, keys.path(), cache.clock.clone());
    let Policy::Grants(grants) = only_public() else { panic!("a policy of grants") };
    let broker = TestBroker::start_on(cache, Policy::Observed(grants), None, |setup| {
        (setup.auth.issuers, setup.config.server.loopback) = (Some(issuers), false);
    });
    let mut client = broker.client().await;
    assert_eq!(get(&mut client, HOST).await.unwrap_err().code(), Code::Unauthenticated);
    get(&mut broker.unix_client().await, HOST).await.unwrap();
    let wrong = reqwest::Client::builder().no_proxy().build().unwrap();
    let wrong = wrong
        .post(format!("http://{}/t/wrong-secret-0123456789012345678901234567", broker.aws_api))
        .send()
        .await
        .unwrap();
    assert!(wrong.status().is_client_error(), "{wrong:?}");
    let scraped = scrape(&broker);
    let denials = |reason| count(scraped.value(DENIALS, &[("reason", reason)]));
    assert_eq!(["no_proof", "observed", "secret", "token", "certificate"].map(denials), [1, 1, 1, 0, 0]);
}

#[tokio::test]
async fn expiry_of_certificates_is_that_of_the_files_in_effect() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let authority = Authority::new(directory.path(), "ca.pem", "authority");
    let (certificate, key) = authority.server().write(directory.path(), "server");
    let settings = tls::Settings {
        certificate,
        key,
        trust_domains: [(spiffe::TrustDomain::new("a.example").unwrap(), authority.file.clone())].into(),
        dns_names: [].into(),
        revocations: [].into(),
    };
    let tls = Arc::new(Tls::load(settings, clock).unwrap());
    let mut registry = Registry::default();
    tls.register(&mut registry);
    let scraped = Scraped::parse(&Exposition::new(registry).encode(Format::Prometheus));
    let expiry = |kind| scraped.find("ecr_broker_certificate_expiry_timestamp_seconds", &[("kind", kind)]).map(count);
    let openssl = |file: &str| {
        let file = directory.path().join(file);
        let arguments = ["x509", "-noout", "-enddate", "-dateopt", "iso_8601", "-in", file.to_str().unwrap()];
        let printed = Command::new("openssl").args(arguments).output().unwrap();
        let text = String::from_utf8(printed.stdout).unwrap();
        let date = text.trim().strip_prefix("notAfter=").unwrap().replace(' ', "T");
        let end = humantime::parse_rfc3339(&date).unwrap();
        end.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs()
    };
    // The last second is valid: a certificate ends in it, and a root after it.
    assert_eq!((expiry("server"), expiry("client_crl")), (Some(openssl("server.crt")), None));
    assert_eq!(expiry("client_ca"), Some(openssl("ca.pem") + 1));
}

/// Without the keys of an issuer all its tokens are rejected: an age that is absent would alert no one.
#[test]
fn keys_of_an_issuer_have_an_infinite_age_until_they_are_fetched() {
    let directory = tempfile::tempdir().unwrap();
    let issuer = |name: &str, uri: &str| {
        format!(
            "[[authentication.jwt]]\nname = {name:?}\nissuer = \"http://127.0.0.1/{name}\"\naudience = \"a\"\njwks_uri = {uri:?}\n"
        )
    };
    let text = format!(
        "grants = []\n{}{}",
        issuer("good", &publish(Signer::new("k1").jwks())),
        issuer("gone", "http://127.0.0.1:1/keys")
    );
    let config = directory.path().join("broker.toml");
    fs::write(&config, text).unwrap();
    let arguments = [&SERVE_SIMULATED[..], &["--config", config.to_str().unwrap()]].concat();
    let (broker, ops) = Server::start_with_ops(&arguments, &[]);
    broker.until_logged("issuer keys fetched");
    broker.until_logged("issuer key fetch failed");
    let scraped = Scraped::from(&ops);
    let age = |issuer| scraped.find("ecr_broker_jwks_age_seconds", &[("issuer", issuer)]).unwrap();
    assert!((0.0..600.0).contains(&age("good")), "{}", age("good"));
    assert!(age("gone").is_infinite() && age("gone") > 0.0, "{}", age("gone"));
    broker.stop();
}

#[test]
fn reloads_are_counted_and_files_out_of_effect_are_shown() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "ca.pem", "authority");
    let (certificate, key) = authority.server().write(directory.path(), "server");
    let config = directory.path().join("broker.toml");
    let grants = |grants: &str| {
        let tls = format!("[server.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n");
        fs::write(&config, format!("grants = {grants}\n{tls}")).unwrap();
    };
    let grant =
        |id: &str| format!("[{{ id = {id:?}, callers = [{{ uid = 1 }}], registries = [{{ public = true }}] }}]");
    grants(&grant("one"));
    let arguments = [&SERVE_SIMULATED[..], &["--config", config.to_str().unwrap()]].concat();
    let (broker, ops) = Server::start_with_ops(&arguments, &[]);
    let shown = || {
        let scraped = Scraped::from(&ops);
        let of = |result| count(scraped.value("ecr_broker_reloads_total", &[("result", result)]));
        let hash =
            scraped.samples.iter().find(|one| one.name == "ecr_broker_config_info").unwrap().labels["hash"].clone();
        ([of("success"), of("failure"), count(scraped.value(IN_EFFECT, &[]))], hash)
    };
    let (counts, first) = shown();
    assert_eq!(counts, [0, 0, 1]);

    grants(&grant("two"));
    signal(broker.pid(), "HUP");
    broker.until_logged("configuration reloaded");
    let (counts, second) = until(|| Some(shown()).filter(|(counts, _)| counts[0] == 1));
    assert!(counts == [1, 0, 1] && first != second, "{counts:?} {second}");

    grants("3");
    signal(broker.pid(), "HUP");
    broker.until_logged("configuration not reloaded");
    let (counts, third) = until(|| Some(shown()).filter(|(counts, _)| counts[1] == 1));
    assert!(counts == [1, 1, 0] && third == second, "{counts:?} {third}");

    grants(&grant("two"));
    signal(broker.pid(), "HUP");
    until(|| (shown().0 == [2, 1, 1]).then_some(()));
    // TLS files are not part of the configuration, and yet the broker would not start with a broken one.
    fs::write(&certificate, "broken").unwrap();
    signal(broker.pid(), "HUP");
    broker.until_logged("TLS files rejected");
    until(|| (shown().0[2] == 0).then_some(()));
    broker.stop();
}

/// Asks again and again until there is a value.
fn until<T>(ask: impl Fn() -> Option<T>) -> T {
    loop {
        if let Some(value) = ask() {
            return value;
        }
        std::thread::yield_now();
    }
}
