//! `verify`: a new credential is tried at its registry before it replaces a good one.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, clippy::duration_suboptimal_units, reason = "a test may")]

mod certificates;
mod program;
mod registry_over_tls;
mod scraped;
mod support;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ecr_broker::cache::{CacheStatus, CredentialCache, Found, IdentityTokens, KeyFilter, KeyQuery, Lookup, SharedKeys};
use ecr_broker::credential::{Credential, CredentialId};
use ecr_broker::error::BrokerError;
use ecr_broker::metrics::{Exposition, Format, Registry};
use ecr_broker::source::verified::{Metrics, NoAnswer, RegistryProbe, Verified, VerifiedKeys};
use ecr_broker::source::{CredentialSource, SourceFuture};
use futures_util::future::join_all;
use program::{Server, run};
use registry_over_tls::RegistryOverTls;
use scraped::Scraped;
use support::*;

/// Answers of registries: scripted ones first, then 200.
#[derive(Debug, Default)]
struct Registries {
    script: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<(String, CredentialId)>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Status(u16),
    Unreachable,
    Hangs,
    After(Duration),
}

impl RegistryProbe for Registries {
    fn ask<'a>(&'a self, host: &'a str, credential: &'a Credential) -> SourceFuture<'a, Result<u16, NoAnswer>> {
        self.asked.lock().unwrap().push((host.to_owned(), credential.id()));
        let answer = self.script.lock().unwrap().pop_front().unwrap_or(Answer::Status(200));
        Box::pin(async move {
            let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_in_flight.fetch_max(now, Ordering::SeqCst);
            let answer = match answer {
                Answer::Status(status) => Ok(status),
                Answer::Unreachable => Err(NoAnswer("connection refused".to_owned())),
                Answer::Hangs => std::future::pending().await,
                Answer::After(time) => {
                    tokio::time::sleep(time).await;
                    Ok(200)
                }
            };
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            answer
        })
    }
}

/// A cache over a scripted source whose credentials are tried at scripted registries.
struct Tried {
    cache: CredentialCache,
    source: Arc<ScriptedSource>,
    clock: Arc<ManualClock>,
    registries: Arc<Registries>,
    exposition: Exposition,
}

impl Tried {
    fn new() -> Self {
        Self::over(|source, _| source)
    }

    fn over(layer: impl FnOnce(Arc<dyn CredentialSource>, &Arc<ManualClock>) -> Arc<dyn CredentialSource>) -> Self {
        let clock = ManualClock::new();
        let (source, registries) = (ScriptedSource::new(&clock), Arc::new(Registries::default()));
        let mut registry = Registry::default();
        let (keys, metrics) = (VerifiedKeys::new(true, &[]), Metrics::new(&mut registry));
        let below = layer(source.clone(), &clock);
        let verified = Verified::new(below, keys, registries.clone(), metrics, clock.clone());
        let cache = cache(cache_settings(), Arc::new(verified), clock.clone());
        Self { cache, source, clock, registries, exposition: Exposition::new(registry) }
    }

    fn script(&self, answers: &[Answer]) {
        self.registries.script.lock().unwrap().extend(answers);
    }

    async fn get(&self, lookup: Lookup) -> Result<Found, BrokerError> {
        self.cache.get(lookup).await
    }

    /// Starts the refresh that is due, waits for it, and returns the next answer.
    async fn refreshed(&self, host: &str) -> Found {
        self.get(lookup(host)).await.unwrap();
        self.cache.wait_for_fetches(HOUR).await;
        self.get(lookup(host)).await.unwrap()
    }

    fn count(&self, result: &str) -> f64 {
        let scraped = Scraped::parse(&self.exposition.encode(Format::Prometheus));
        scraped.find("ecr_broker_verifications_total", &[("result", result)]).unwrap()
    }

    fn asked(&self) -> Vec<(String, CredentialId)> {
        std::mem::take(&mut self.registries.asked.lock().unwrap())
    }
}

const REFUSED: [u16; 2] = [401, 403];

#[tokio::test(start_paused = true)]
async fn p5_refused_credential_replaces_no_good_one() {
    for status in REFUSED {
        let tried = Tried::new();
        let good = tried.get(lookup(HOST)).await.unwrap().credential.id();
        assert_eq!(tried.asked(), [(HOST.to_owned(), good)]);
        tried.clock.advance(HOUR + 10 * MINUTE);
        tried.script(&[Answer::Status(status); 2]);
        let kept = tried.refreshed(HOST).await;
        assert_eq!((kept.credential.id(), kept.status), (good, CacheStatus::Stale));
        assert_eq!((tried.source.calls(), tried.count("refused")), (3, 2.0), "one more was minted, once");
        let failing =
            KeyQuery { limit: 1, filter: KeyFilter { failing: true, ..KeyFilter::default() }, ..KeyQuery::default() };
        let shown = tried.cache.keys(&failing).await.keys.remove(0);
        assert_eq!(shown.failure.unwrap().reason, "AWS_RESPONSE_INVALID", "the status says why it is stale");
        // The next attempt comes after a while, and its credential is good.
        tried.clock.advance(MINUTE / 2);
        let replaced = tried.refreshed(HOST).await;
        assert_eq!((replaced.status, tried.source.calls()), (CacheStatus::Hit, 4));
        assert_ne!(replaced.credential.id(), good);
    }
}

#[tokio::test(start_paused = true)]
async fn refused_credential_is_minted_once_more_by_a_new_session() {
    for status in REFUSED {
        let tried = Tried::new();
        tried.script(&[Answer::Status(status)]);
        let found = tried.get(lookup(HOST)).await.unwrap();
        let [(_, refused), (_, accepted)] = &tried.asked()[..] else { panic!("two questions") };
        assert_eq!(found.credential.id(), *accepted);
        let again = tried.source.last_request();
        assert_eq!((again.rejected, again.new_session), (Some(*refused), true));
        assert_eq!((tried.count("refused"), tried.count("accepted")), (1.0, 1.0));
    }
}

#[tokio::test(start_paused = true)]
async fn caller_without_an_older_credential_gets_the_reason_and_a_delay() {
    let tried = Tried::new();
    tried.script(&[Answer::Status(401), Answer::Status(403)]);
    let error = tried.get(lookup(HOST)).await.unwrap_err();
    assert_eq!((error.reason(), error.retry_after()), ("AWS_RESPONSE_INVALID", Some(MINUTE / 2)));
    assert_eq!(tried.get(lookup(HOST)).await.unwrap_err().reason(), "AWS_RESPONSE_INVALID");
    assert_eq!(tried.source.calls(), 2, "not before the delay");
}

/// A VPC may reach AWS's API and not the registries.
#[tokio::test(start_paused = true)]
async fn only_401_and_403_refuse_a_credential() {
    for (answer, result) in [
        (Answer::Status(200), "accepted"),
        (Answer::Status(302), "inconclusive"),
        (Answer::Status(404), "inconclusive"),
        (Answer::Status(407), "inconclusive"),
        (Answer::Status(429), "inconclusive"),
        (Answer::Status(500), "inconclusive"),
        (Answer::Status(503), "inconclusive"),
        (Answer::Unreachable, "unreachable"),
        (Answer::Hangs, "unreachable"),
        (Answer::After(Duration::from_millis(1_900)), "accepted"),
        (Answer::After(Duration::from_millis(2_100)), "unreachable"),
    ] {
        let tried = Tried::new();
        tried.script(&[answer]);
        let begin = tokio::time::Instant::now();
        tried.get(lookup(HOST)).await.unwrap();
        assert!(begin.elapsed() <= Duration::from_secs(2), "{answer:?}");
        assert_eq!((tried.count(result), tried.source.calls()), (1.0, 1), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn registry_is_asked_by_its_own_host_and_only_if_configured() {
    let tried = Tried::new();
    for host in [HOST, "123456789012.dkr-ecr-fips.us-east-1.on.aws", "public.ecr.aws"] {
        tried.get(lookup(host)).await.unwrap();
        assert_eq!(tried.asked().into_iter().map(|(host, _)| host).collect::<Vec<_>>(), [host]);
    }
    let other =
        Lookup { key: ecr_broker::credential::CredentialKey { profile: "ci".into(), ..key(HOST) }, ..lookup(HOST) };
    tried.get(other).await.unwrap();
    assert_eq!(tried.asked(), []);
}

#[tokio::test(start_paused = true)]
async fn p8_few_registries_are_asked_at_the_same_time() {
    let tried = Tried::new();
    tried.script(&[Answer::After(Duration::from_millis(100)); 500]);
    let found = join_all((0..500).map(|account| tried.get(lookup(&host(account))))).await;
    assert!(found.iter().all(Result::is_ok));
    assert_eq!((tried.count("accepted"), tried.registries.most_in_flight.load(Ordering::SeqCst)), (500.0, 64));
}

/// A fetch that waits for its turn for too long gets its credential unverified.
#[tokio::test(start_paused = true)]
async fn hanging_registries_delay_a_cold_start_by_4_s_at_most() {
    let tried = Tried::new();
    tried.script(&[Answer::Hangs; 200]);
    let begin = tokio::time::Instant::now();
    let found = join_all((0..200).map(|account| tried.get(lookup(&host(account))))).await;
    assert!(found.iter().all(Result::is_ok) && begin.elapsed() <= Duration::from_secs(4));
    assert!((tried.count("unreachable") - 200.0).abs() < 0.5);
}

#[tokio::test(start_paused = true)]
async fn refusal_counts_for_its_account_if_accounts_share_tokens() {
    let tried = Tried::over(|source, clock| {
        IdentityTokens::start(source, SharedKeys::new(&[]), &cache_settings(), clock.clone())
    });
    let first = tried.get(lookup(&host(1))).await.unwrap().credential.id();
    assert_eq!((tried.get(lookup(&host(2))).await.unwrap().credential.id(), tried.asked().len()), (first, 2));
    tried.script(&[Answer::Status(403)]);
    let second = tried.get(lookup(&host(3))).await.unwrap().credential.id();
    assert_ne!(second, first);
    for account in [1, 2] {
        let kept = tried.get(lookup(&host(account))).await.unwrap();
        assert_eq!((kept.credential.id(), kept.status), (first, CacheStatus::Hit));
    }
    // An identity's refused tokens are replaced once a minute, whichever accounts refuse them.
    tried.script(&[Answer::Status(403)]);
    assert_eq!(tried.get(lookup(&host(4))).await.unwrap_err().reason(), "AWS_RESPONSE_INVALID");
    assert_eq!((tried.source.calls(), tried.get(lookup(&host(5))).await.unwrap().credential.id()), (2, second));
}

const KEYS: [(&str, &str); 4] = [
    ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "example"),
    ("AWS_REGION", "eu-central-1"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];

/// Starts a broker that reaches AWS and its registries through a proxy, and has `verify`.
fn broker(aws: &RegistryOverTls, more: &[(&str, &str)]) -> (Server, String) {
    let ca = aws.authority.file.to_str().unwrap();
    let own = [("HTTPS_PROXY", aws.proxy.as_str()), ("AWS_CA_BUNDLE", ca), ("ECR_BROKER_AWS_VERIFY", "true")];
    let environment = [&KEYS[..], &own, more].concat();
    Server::start_with_ops(&["serve", "--allow-loopback", "--listen", "127.0.0.1:0"], &environment)
}

/// Over TLS, with AWS's own host names.
#[test]
fn program_tries_a_new_credential_at_its_registry() {
    let aws = RegistryOverTls::start();
    let (server, _) = broker(&aws, &[]);
    let password = |host: &str| run(&["get", "--address", &server.address, "-o", "password", host], &[]);
    for (account, answers, succeeds) in [
        ("000000000001", &["200 OK"][..], true),
        ("000000000002", &["401 Unauthorized", "200 OK"], true),
        ("000000000003", &["403 Forbidden", "403 Forbidden"], false),
        ("000000000004", &["500 Internal Server Error"], true),
        ("000000000005", &["302 Found\r\nlocation: https://elsewhere.example/v2/"], true),
        ("000000000006", &["hang"], true),
        ("000000000007", &["200 OK\r\ncontent-length: 9999999"], true),
    ] {
        let host = format!("{account}.dkr.ecr.eu-central-1.amazonaws.com");
        aws.answer(&host, answers);
        let ended = password(&host);
        assert_eq!(ended.code == 0, succeeds, "{account}: {ended:?}");
        let asked = aws.asked_of(&host);
        assert_eq!(asked.len(), answers.len(), "{account}: {asked:?}");
        if succeeds {
            let header =
                format!("Basic {}", data_encoding::BASE64.encode(format!("AWS:{}", ended.stdout.trim()).as_bytes()));
            assert_eq!(asked.last(), Some(&header), "{account}: the registry was asked about what the caller got");
        } else {
            assert!(ended.stderr.contains("AWS_RESPONSE_INVALID"), "{ended:?}");
        }
    }
    assert_eq!(aws.asked_of("elsewhere.example"), Vec::<String>::new(), "no redirect is followed");
    let log = server.stop();
    assert!(log.contains("new credential refused by its registry") && log.contains("new credential used unverified"));
    for secret in aws.issued() {
        assert!(!log.contains(&secret), "a token in the log");
    }
}

#[test]
fn registry_that_cannot_be_reached_does_not_refuse() {
    let aws = RegistryOverTls::start();
    let (server, _) = broker(&aws, &[("NO_PROXY", ".dkr.ecr.eu-central-1.amazonaws.com")]);
    run(&["get", "--address", &server.address, HOST], &[]).out();
    assert!(server.stop().contains("new credential used unverified"));
    assert_eq!(aws.asked_of(HOST), Vec::<String>::new());
}

/// An endpoint override may be another AWS than that of the registries, whose tokens must not be sent to them.
#[test]
fn overridden_endpoint_turns_verification_off_and_config_check_says_so() {
    let aws = RegistryOverTls::start();
    let simulated = Server::start(&["simulate-aws", "--listen", "127.0.0.1:0"], &[]);
    let endpoint = [("AWS_ENDPOINT_URL", simulated.address.as_str())];
    let (server, _) = broker(&aws, &endpoint);
    run(&["get", "--address", &server.address, HOST], &[]).out();
    assert_eq!(aws.asked_of(HOST), Vec::<String>::new());
    assert!(server.stop().contains("new credentials are not verified"));
    let check = |environment: &[(&str, &str)]| run(&["config", "check"], environment).stderr;
    let verify = ("ECR_BROKER_AWS_VERIFY", "true");
    for override_ in [endpoint[0], ("ECR_BROKER_AWS_ECR_ENDPOINT", "https://ecr.example")] {
        let text = check(&[verify, override_, KEYS[2]]);
        assert!(text.contains("warning: verify: off, because"), "{text}");
    }
    assert!(!check(&[verify, KEYS[2]]).contains("verify"));
}
