//! Metrics: each changes as `docs/metrics.md` says, and that page lists exactly what a scrape contains.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../certificates/mod.rs"]
mod certificates;
#[path = "../program/mod.rs"]
mod program;
#[path = "../scraped/mod.rs"]
mod scraped;
#[path = "../support/mod.rs"]
mod support;
#[path = "../tokens/mod.rs"]
mod tokens;

mod limits;
mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use certificates::Authority;
use ecr_broker::app::{App, Parts};
use ecr_broker::audit::Output;
use ecr_broker::cache::{CredentialCache, Lookup};
use ecr_broker::caller::Principal;
use ecr_broker::clock::SystemClock;
use ecr_broker::credential::{CredentialKey, Lifetime};
use ecr_broker::error::FailureClass;
use ecr_broker::limits::LimitHits;
use ecr_broker::metrics::{self, Exposition, Format};
use ecr_broker::pb;
use ecr_broker::policy::{Accounts, CallerPattern, Effect, Grant, Policy, RegistryPattern};
use ecr_broker::simulator::{self, Controls, Simulator};
use futures_util::future::join_all;
use program::{Server, run, signal};
use scraped::Scraped;
use support::*;
use tokens::{ISSUER, Signer, bearing, issuers, seconds};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::{Code, Status};

const CREDENTIALS: &str = "ecr_broker_credentials_total";
const REMAINING: &str = "ecr_broker_credential_remaining_seconds";
const RPC_COUNT: &str = "rpc_server_call_duration_seconds_count";
const RUNWAY: &str = "ecr_broker_credential_expiry_timestamp_seconds";
const GET: &str = "ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials";
const OUTCOMES: [&str; 6] = ["hit", "miss", "coalesced", "stale", "denied", "error"];

async fn get(client: &mut Client, host: &str) -> Result<pb::RegistryCredentials, Status> {
    let response = client.get_registry_credentials(request(host)).await?;
    Ok(response.into_inner().credentials.unwrap())
}

fn scrape(broker: &TestBroker) -> Scraped {
    Scraped::parse(&broker.exposition.encode(Format::Prometheus))
}

/// The counts of all outcomes.
fn outcomes(broker: &TestBroker) -> [u64; 6] {
    let scraped = scrape(broker);
    OUTCOMES.map(|outcome| count(scraped.value(CREDENTIALS, &[("outcome", outcome)])))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
fn count(value: f64) -> u64 {
    value as u64
}

/// Allows only the public registry.
fn only_public() -> Policy {
    let (callers, registries) = (vec![CallerPattern::Loopback], vec![RegistryPattern::Public]);
    Policy::Grants(vec![Grant {
        id: "one".into(),
        effect: Effect::Allow,
        callers,
        registries,
        profile: None,
        max_lifetime: None,
    }])
}

#[tokio::test]
async fn outcomes_of_requests_are_counted() {
    let broker = TestBroker::start();
    let mut client = broker.client().await;
    assert_eq!(outcomes(&broker), [0; 6], "each outcome is exposed from the start");
    get(&mut client, HOST).await.unwrap();
    assert_eq!(outcomes(&broker), [0, 1, 0, 0, 0, 0]);
    get(&mut client, HOST).await.unwrap();
    get(&mut client, HOST).await.unwrap();
    assert_eq!(outcomes(&broker), [2, 1, 0, 0, 0, 0]);

    broker.source.shut();
    let (first, second) = (broker.client().await, broker.client().await);
    let calls = [first, second].map(|mut client| async move { get(&mut client, "public.ecr.aws").await.map(drop) });
    let calls = tokio::spawn(join_all(calls));
    broker.source.until_calls(2).await;
    // Both wait: one of them started the fetch.
    while scrape(&broker).value("ecr_broker_rpcs_in_flight", &[]) < 2.0 {
        tokio::task::yield_now().await;
    }
    broker.source.open();
    assert!(calls.await.unwrap().iter().all(Result::is_ok));
    assert_eq!(outcomes(&broker), [2, 2, 1, 0, 0, 0]);

    broker.source.fail(FailureClass::Unavailable);
    let requests = vec![request(HOST), request(&host(1)), request(HOST)];
    client.batch_get_registry_credentials(pb::BatchGetRegistryCredentialsRequest { requests }).await.unwrap();
    assert_eq!(outcomes(&broker), [4, 2, 1, 0, 0, 1], "each item of a batch counts");
    broker.clock.advance(2 * HOUR);
    get(&mut client, HOST).await.unwrap();
    broker.source.until_calls(4).await;
    while outcomes(&broker)[3] == 0 {
        get(&mut client, HOST).await.unwrap();
    }
    let failures = scrape(&broker);
    assert!(failures.value("ecr_broker_refresh_failures_total", &[("class", "unavailable")]) >= 1.0);
    assert_eq!(count(failures.value("ecr_broker_refresh_failures_total", &[("class", "denied")])), 0);
}

#[tokio::test]
async fn denied_requests_are_counted_as_denials_and_calls() {
    let broker = TestBroker::start_as(only_public(), None, |_| ());
    let mut client = broker.client().await;
    get(&mut client, "public.ecr.aws").await.unwrap();
    assert_eq!(get(&mut client, HOST).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(outcomes(&broker), [0, 1, 0, 0, 1, 0]);
    let scraped = scrape(&broker);
    assert_eq!(count(scraped.value("ecr_broker_denials_total", &[("reason", "not_allowed")])), 1);
    let calls = |code| count(scraped.value(RPC_COUNT, &[("rpc_method", GET), ("rpc_response_status_code", code)]));
    assert_eq!((calls("OK"), calls("PERMISSION_DENIED"), calls("UNAVAILABLE")), (1, 1, 0));
    assert_eq!(count(scraped.value("ecr_broker_rpcs_in_flight", &[])), 0);
}

#[tokio::test]
async fn remaining_validity_is_that_at_the_release() {
    let broker = TestBroker::start();
    let mut client = broker.client().await;
    get(&mut client, HOST).await.unwrap();
    broker.source.shut();
    broker.clock.advance(HOUR / 2);
    get(&mut client, HOST).await.unwrap();
    let scraped = scrape(&broker);
    assert_eq!(count(scraped.value(&format!("{REMAINING}_count"), &[])), 2);
    assert!((scraped.value(&format!("{REMAINING}_sum"), &[]) - (12.0 + 11.5) * 3_600.0).abs() < 1.0);
    let below = |bound| count(scraped.value(&format!("{REMAINING}_bucket"), &[("le", bound)]));
    assert_eq!([below("300"), below("39600"), below("43200")], [0, 0, 2], "{}", scraped.text);
    broker.source.open();
}

#[tokio::test]
async fn streams_count_from_their_start_to_their_end() {
    let broker = TestBroker::start();
    let mut client = broker.client().await;
    let watch = pb::WatchRegistryCredentialsRequest { requests: vec![request(HOST)], known_credential_ids: vec![] };
    let mut events = client.watch_registry_credentials(watch).await.unwrap().into_inner();
    events.message().await.unwrap().unwrap();
    let scraped = scrape(&broker);
    assert_eq!(count(scraped.value("ecr_broker_rpcs_in_flight", &[])), 1);
    assert_eq!(count(scraped.value("ecr_broker_watches", &[])), 1);
    assert_eq!(scraped.find(RPC_COUNT, &[]), None);
    drop((events, client));
    while scrape(&broker).find(RPC_COUNT, &[("rpc_response_status_code", "CANCELLED")]).is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(outcomes(&broker), [0, 1, 0, 0, 0, 0], "a watch's credential counts as released");
    assert_eq!(count(scrape(&broker).value("ecr_broker_watches", &[])), 0);
}

#[tokio::test]
async fn cached_credentials_are_exposed_by_region_and_by_key() {
    let regions = ["eu-west-1", "us-east-1", "eu-north-9"];
    for max_exposed_keys in [0, 2] {
        let cache = TestCache::with(ecr_broker::cache::Settings { max_exposed_keys, ..cache_settings() });
        let broker = TestBroker::start_on(cache, Policy::Open, None, |setup| {
            setup.config.aws.regions = vec!["eu-north-9".parse().unwrap()];
        });
        let mut client = broker.client().await;
        for region in regions {
            get(&mut client, &format!("{:012}.dkr.ecr.{region}.amazonaws.com", 7)).await.unwrap();
            broker.clock.advance(MINUTE);
        }
        get(&mut client, "public.ecr.aws").await.unwrap();
        let scraped = scrape(&broker);
        let entries = |region| count(scraped.value("ecr_broker_cache_entries", &[("region", region)]));
        assert_eq!(["eu-west-1", "us-east-1", "other", "public"].map(entries), [1; 4]);
        let of_region = |region| {
            let samples = scraped.samples.iter().filter(|sample| sample.name == RUNWAY && sample.labels.len() == 1);
            samples.filter(|sample| sample.labels["region"] == region).map(|sample| sample.value).next().unwrap()
        };
        let expiry = 1_800_000_000.0 + 12.0 * 3_600.0;
        assert!((of_region("eu-west-1") - expiry).abs() < 1.0, "{}", of_region("eu-west-1"));
        assert!((of_region("public") - expiry - 180.0).abs() < 1.0);
        let keys: Vec<_> = scraped.samples.iter().filter(|it| it.labels.contains_key("account_id")).collect();
        assert_eq!(keys.len(), max_exposed_keys, "{keys:?}");
        let soonest: BTreeSet<_> = keys.iter().map(|key| key.labels["region"].as_str()).collect();
        let expected: &[&str] = if max_exposed_keys == 0 { &[] } else { &["eu-west-1", "us-east-1"] };
        assert!(soonest.iter().eq(expected), "those that expire first: {soonest:?}");
    }
}

/// Their expiry is near by design: the alert of a short runway would never end.
#[tokio::test]
async fn runway_is_without_credentials_of_limited_lifetimes() {
    let cache = TestCache::with(ecr_broker::cache::Settings { max_exposed_keys: 9, ..cache_settings() });
    let Policy::Grants(grants) = only_public() else { panic!("a policy of grants") };
    let grant = |id: &str, region: &str, minutes: Option<u16>| Grant {
        id: id.into(),
        registries: vec![RegistryPattern::Private { accounts: Accounts::Any, regions: vec![region.parse().unwrap()] }],
        max_lifetime: minutes.and_then(Lifetime::from_minutes),
        ..grants[0].clone()
    };
    let policy = Policy::Grants(vec![grant("short", "eu-west-1", Some(15)), grant("long", "*", None)]);
    let broker = TestBroker::start_on(cache, policy, None, |_| {});
    let mut client = broker.client().await;
    for region in ["eu-west-1", "us-east-1"] {
        get(&mut client, &format!("{:012}.dkr.ecr.{region}.amazonaws.com", 7)).await.unwrap();
    }
    let scraped = scrape(&broker);
    for region in ["eu-west-1", "us-east-1"] {
        assert_eq!(count(scraped.value("ecr_broker_cache_entries", &[("region", region)])), 1, "{region}");
    }
    let runway = scraped.samples.iter().filter(|sample| sample.name == RUNWAY);
    let regions: BTreeSet<_> = runway.map(|sample| sample.labels["region"].as_str()).collect();
    assert_eq!(regions, BTreeSet::from(["us-east-1"]));
}

#[tokio::test]
async fn revoked_credential_is_counted_as_an_eviction() {
    let broker = TestBroker::start();
    let mut client = broker.client().await;
    get(&mut client, HOST).await.unwrap();
    broker.source.fail(FailureClass::Denied);
    broker.clock.advance(2 * HOUR);
    get(&mut client, HOST).await.unwrap();
    let evicted = |cause| {
        let scraped = scrape(&broker);
        count(scraped.value("ecr_broker_cache_evictions_total", &[("cause", cause)]))
    };
    while evicted("revoked") == 0 {
        broker.cache.sweep().await;
    }
    assert_eq!((evicted("revoked"), evicted("expired"), evicted("capacity")), (1, 0, 0));
}

#[tokio::test]
async fn limit_hits_and_rejected_tokens_are_counted() {
    let (cache, signer, keys) = (TestCache::new(), Signer::new("k1"), tempfile::tempdir().unwrap());
    let issuers = issuers(&signer, keys.path(), cache.clock.clone());
    let broker = TestBroker::start_on(cache, Policy::Open, None, |setup| {
        setup.auth.issuers = Some(issuers);
        setup.config.limits.requests_per_second = 1.try_into().unwrap();
    });
    let token = signer.token(ISSUER, "greedy-subject", seconds(&*broker.clock));
    let mut client = broker.client().await;
    let mut refused = 0;
    for _ in 0..30 {
        refused += u64::from(client.get_registry_credentials(bearing(&token, request(HOST))).await.is_err());
    }
    assert!(refused >= 19, "{refused}");
    client.get_registry_credentials(bearing(&format!("{token}x"), request(HOST))).await.unwrap_err();
    let scraped = scrape(&broker);
    let hits = |limit| count(scraped.value("ecr_broker_limit_hits_total", &[("limit", limit)]));
    assert_eq!((hits("caller_request_rate"), hits("caller_requests_in_flight")), (refused, 0));
    assert_eq!(count(scraped.value("ecr_broker_denials_total", &[("reason", "token")])), 1);
    let limited = [("rpc_method", GET), ("rpc_response_status_code", "RESOURCE_EXHAUSTED")];
    assert_eq!(count(scraped.value(RPC_COUNT, &limited)), refused);
}

#[tokio::test]
async fn connections_are_counted_by_listener_and_state() {
    let broker = TestBroker::start();
    let clients = (broker.client().await, broker.unix_client().await);
    let open = |listener, state| {
        let labels = [("listener", listener), ("state", state)];
        count(scrape(&broker).value("ecr_broker_connections", &labels))
    };
    while (open("tcp", "proved"), open("unix", "proved")) != (1, 1) {
        tokio::task::yield_now().await;
    }
    assert_eq!((open("tcp", "unproved"), open("aws_api", "proved"), open("ops", "proved")), (0, 0, 0));
    let silent = tokio::net::TcpStream::connect(broker.tcp).await.unwrap();
    while open("tcp", "proved") + open("tcp", "unproved") < 2 {
        tokio::task::yield_now().await;
    }
    drop((clients, silent));
}

/// Sends a request to the ECR API as an SDK does.
async fn ask_aws_api(broker: &TestBroker, secret: &str, target: &str) {
    let mut stream = tokio::net::TcpStream::connect(broker.aws_api).await.unwrap();
    let request = format!(
        "POST /t/{secret} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/x-amz-json-1.1\r\n\
         x-amz-target: {target}\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
}

#[tokio::test]
async fn aws_api_requests_are_counted_by_operation_and_code() {
    let broker = TestBroker::start();
    let (private, public) =
        ("AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken", "SpencerFrontendService.GetAuthorizationToken");
    for (secret, target) in [
        (AWS_API_SECRET, private),
        (AWS_API_SECRET, private),
        (AWS_API_SECRET, public),
        (AWS_API_SECRET, "Made.Up"),
        ("wrong", private),
    ] {
        ask_aws_api(&broker, secret, target).await;
    }
    broker.source.fail(FailureClass::Unavailable);
    broker.clock.advance(12 * HOUR);
    ask_aws_api(&broker, AWS_API_SECRET, public).await;
    let scraped = scrape(&broker);
    let calls = |method, code| {
        let labels = [("rpc_method", method), ("rpc_response_status_code", code)];
        count(scraped.value(RPC_COUNT, &labels))
    };
    let (private, public) = ("ECR/GetAuthorizationToken", "ECR Public/GetAuthorizationToken");
    assert_eq!((calls(private, "OK"), calls(private, "AccessDeniedException")), (2, 1), "{}", scraped.text);
    assert_eq!((calls(public, "OK"), calls(public, "ServerException")), (1, 1));
    assert_eq!(calls("_OTHER", "UnknownOperationException"), 1);
    assert_eq!(count(scraped.value("ecr_broker_rpcs_in_flight", &[])), 0);
}

#[tokio::test]
async fn audit_records_are_counted_by_what_became_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let broker = TestBroker::start_as(Policy::Open, Some(&Output::File(file.clone())), |_| ());
    let mut client = broker.client().await;
    get(&mut client, HOST).await.unwrap();
    put_directory_at(&file);
    // The file is looked for at most every 100 ms.
    broker.clock.advance(Duration::from_millis(100));
    get(&mut client, HOST).await.unwrap_err();
    let scraped = scrape(&broker);
    let records = |result| count(scraped.value("ecr_broker_audit_records_total", &[("result", result)]));
    assert_eq!(["written", "failed", "dropped"].map(records), [1, 1, 0]);
    assert_eq!(outcomes(&broker), [0, 1, 0, 0, 0, 1]);
}

/// A broker in front of a simulated AWS, which it calls as it would call AWS.
async fn simulated(change: impl FnOnce(&mut Setup)) -> (App, Controls) {
    let simulator = Simulator::bind(([127, 0, 0, 1], 0).into(), simulator::Settings::default()).await.unwrap();
    let (endpoint, controls) = (format!("http://{}", simulator.address()), simulator.controls());
    tokio::spawn(simulator.run_until(std::future::pending()));
    let directory = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(&cache_settings(), directory.path());
    setup.config.aws.ecr_endpoint = Some(endpoint.clone());
    setup.config.aws.ecr_public_endpoint = Some(endpoint.clone());
    setup.config.aws.sts_endpoint = Some(endpoint);
    setup.config.aws.simulated_credentials = true;
    change(&mut setup);
    let app = Box::pin(App::build(setup.config, Parts::new(Arc::new(SystemClock::new())))).await.unwrap();
    (app, controls)
}

#[tokio::test]
async fn upstream_calls_are_measured_by_service_and_result() {
    let (app, controls) = Box::pin(simulated(|_| ())).await;
    let broker = app.broker();
    let scrape = || Scraped::parse(&app.exposition().encode(Format::Prometheus));
    broker.registry_credentials(credential_request(HOST, Duration::ZERO)).await.unwrap();
    broker.registry_credentials(credential_request("public.ecr.aws", Duration::ZERO)).await.unwrap();
    controls.set_faults(vec!["throttle=1".parse().unwrap()]);
    broker.registry_credentials(credential_request(&host(1), Duration::ZERO)).await.unwrap_err();
    let scraped = scrape();
    let calls = |service, result| {
        let labels = [("source", "aws"), ("service", service), ("result", result)];
        count(scraped.value("ecr_broker_upstream_call_duration_seconds_count", &labels))
    };
    assert_eq!(
        (calls("ecr", "ok"), calls("ecr_public", "ok"), calls("ecr", "throttled")),
        (1, 1, 1),
        "{}",
        scraped.text
    );
    let gauge = |name, region| {
        scraped.find(&format!("ecr_broker_upstream_{name}"), &[("source", "aws"), ("region", region)]).unwrap()
    };
    assert!(gauge("interval_seconds", "eu-central-1") > 0.0, "AWS throttled a call");
    assert_eq!(count(gauge("limit", "eu-central-1")), 4, "half of 9, rounded down");
    assert_eq!((count(gauge("in_flight", "eu-central-1")), count(gauge("queued", "eu-central-1"))), (0, 0));
    assert!(count(gauge("retry_budget", "eu-central-1")) >= 9 && gauge("interval_seconds", "public") == 0.0);
}

#[tokio::test]
async fn calls_in_flight_queued_and_repeated_are_shown() {
    let (app, controls) = Box::pin(simulated(|setup| setup.config.aws.admission.max_in_flight_per_region = 1)).await;
    let gauge = |name, region| {
        let scraped = Scraped::parse(&app.exposition().encode(Format::Prometheus));
        scraped.find(&format!("ecr_broker_upstream_{name}"), &[("source", "aws"), ("region", region)]).map(count)
    };
    let fetch = |host: String| {
        let broker = app.broker();
        tokio::spawn(
            async move { broker.registry_credentials(credential_request(&host, Duration::ZERO)).await.map(drop) },
        )
    };
    controls.set_faults(vec!["hang=1".parse().unwrap()]);
    let hanging = [1, 2].map(|number| fetch(host(number)));
    while (gauge("in_flight", "eu-central-1"), gauge("queued", "eu-central-1")) != (Some(1), Some(1)) {
        tokio::task::yield_now().await;
    }
    for fetch in hanging {
        fetch.abort();
    }
    controls.set_faults(vec!["server-error=1".parse().unwrap()]);
    fetch(host(3).replace("eu-central-1", "us-east-1")).await.unwrap().unwrap_err();
    let left = gauge("retry_budget", "us-east-1");
    assert!(left < Some(10), "each retry costs one of ten: {left:?}");
}

#[tokio::test]
async fn scrape_of_10_000_keys_shows_as_many_as_it_may() {
    let registry = &mut metrics::Registry::default();
    let (clock, hits) = (ManualClock::new(), LimitHits::new(registry));
    let settings = ecr_broker::cache::Settings { max_exposed_keys: 500, ..cache_settings() };
    let cache = CredentialCache::new(settings, ScriptedSource::new(&clock), clock, &hits, registry);
    for number in 0..10_000 {
        cache.get(lookup(&host(number))).await.unwrap();
    }
    let exposition = Exposition::new(std::mem::take(registry));
    let scraped = Scraped::parse(&exposition.encode(Format::Prometheus));
    assert_eq!(count(scraped.value("ecr_broker_cache_entries", &[])), 10_000);
    let keys = scraped.samples.iter().filter(|sample| sample.labels.contains_key("account_id")).count();
    assert_eq!(keys, 500);
    assert!(scraped.text.len() < 256 * 1024, "{}", scraped.text.len());
}

/// A caller is not a label, and Prometheus would refuse a series that occurs twice.
#[tokio::test]
async fn credentials_of_several_callers_share_a_series() {
    let registry = &mut metrics::Registry::default();
    let (clock, hits) = (ManualClock::new(), LimitHits::new(registry));
    let settings = ecr_broker::cache::Settings { max_exposed_keys: 10, ..cache_settings() };
    let cache = CredentialCache::new(settings, ScriptedSource::new(&clock), clock.clone(), &hits, registry);
    for uid in 0..3 {
        let key = CredentialKey { caller: Some(Principal::Uid(uid)), ..key(HOST) };
        cache.get(Lookup { key, ..lookup(HOST) }).await.unwrap();
        clock.advance(MINUTE);
    }
    let exposition = Exposition::new(std::mem::take(registry));
    let scraped = Scraped::parse(&exposition.encode(Format::Prometheus));
    let of_keys = scraped.samples.iter().filter(|sample| sample.labels.contains_key("account_id"));
    let ends: Vec<_> = of_keys.map(|sample| count(sample.value)).collect();
    assert_eq!(ends, [1_800_000_000 + 12 * 3_600], "the first");
    assert_eq!(count(scraped.value("ecr_broker_cache_entries", &[("region", "eu-central-1")])), 3);
}

/// The keys of an issuer, published on loopback.
fn publish(keys: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{keys}", keys.len());
        }
    });
    url
}

/// Writes the keys of a shared cache, and returns the file.
fn shared_cache_keys(directory: &Path) -> PathBuf {
    let file = directory.join("cache-keys");
    let mut options = fs::OpenOptions::new();
    let mut keys = options.write(true).create_new(true).mode(0o600).open(&file).unwrap();
    keys.write_all(run(&["keygen"], &[]).out().as_bytes()).unwrap();
    file
}

/// A row of `docs/metrics.md`.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let page = fs::read_to_string("docs/metrics.md").unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let row = |row: &str| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 7, "name, type, unit, labels, meaning, alert: {row}");
        assert!(!cells[2].is_empty() && !cells[4].is_empty(), "{row}");
        let labels = cells[3].split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        (cells[0].trim_end_matches('`').to_owned(), (cells[1].to_owned(), labels))
    };
    rows.map(row).collect()
}

#[test]
fn page_lists_exactly_the_names_types_and_labels_of_a_scrape() {
    let directory = tempfile::tempdir().unwrap();
    let place = |file: &str| directory.path().join(file).display().to_string();
    let (ca, signer) = (Authority::new(directory.path(), "ca.pem", "a"), Signer::new("k1"));
    let (certificate, key) = ca.server().write(directory.path(), "server");
    let jwks_uri = publish(signer.jwks());
    fs::write(place("token"), "header.claims.signature").unwrap();
    let keys_file = shared_cache_keys(directory.path());
    let text = format!(
        "audit.output = \"{audit}\"\nmetrics.per_key = true\n\
         [server.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n\
         [shared_cache]\nurl = \"redis://127.0.0.1:1\"\nkeys_file = {keys_file:?}\n\
         [authentication]\nclient_ca = {{ \"a.example\" = {ca:?} }}\n\
         [[authentication.jwt]]\nname = \"blue\"\nissuer = \"http://127.0.0.1:1\"\naudience = \"a\"\njwks_uri = \"{jwks_uri}\"\n\
         [[profiles]]\nname = \"ci\"\nrole_chain = [{{ arn = \"arn:aws:iam::123456789012:role/ci\" }}]\n\
         [[parents]]\nname = \"central\"\naddresses = [\"unix:/nowhere/broker.sock\"]\n\
         registries = [{{ accounts = [\"000000000001\"], regions = [\"us-east-1\"] }}]\n\
         [[grants]]\nid = \"own\"\ncallers = [{{ uid = {uid} }}]\nprofile = \"ci\"\n\
         registries = [{{ accounts = [\"*\"], regions = [\"*\"] }}]\n",
        uid = fs::metadata(directory.path()).unwrap().uid(),
        audit = place("audit"),
        ca = ca.file,
    );
    fs::write(place("broker.toml"), text).unwrap();
    let aws = Server::start(&["simulate-aws", "--listen", "127.0.0.1:0"], &[]);
    let socket = format!("unix:{}", place("broker.sock"));
    let config = place("broker.toml");
    let arguments = ["serve", "--config", &config, "--listen", &socket];
    let token = place("token");
    let environment = [
        ("AWS_ENDPOINT_URL", aws.address.as_str()),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/broker"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let (broker, ops) = Server::start_with_ops(&arguments, &environment);
    assert_eq!(run(&["get", HOST, "--profile", "ci", "--address", &socket], &[]).code, 0);
    broker.until_logged("issuer keys fetched");
    signal(broker.pid(), "HUP");
    // The log line comes before the count.
    let reloads = || Scraped::from(&ops).value("ecr_broker_reloads_total", &[("result", "success")]);
    while reloads() < 1.0 {
        std::thread::yield_now();
    }

    let scraped = Scraped::from(&ops);
    let documented = documented();
    let names = |of: &mut dyn Iterator<Item = &String>| of.cloned().collect::<BTreeSet<_>>();
    let (found, expected) = (names(&mut scraped.types.keys()), names(&mut documented.keys()));
    assert_eq!(found.difference(&expected).collect::<Vec<_>>(), [] as [&String; 0], "not in docs/metrics.md");
    assert_eq!(expected.difference(&found).collect::<Vec<_>>(), [] as [&String; 0], "not in the scrape");
    for (name, (kind, labels)) in &documented {
        assert_eq!(&scraped.types[name], kind, "{name}");
        assert_eq!(&scraped.labels_of(name), labels, "{name}");
    }
    assert_eq!(count(scraped.value("ecr_broker_reloads_total", &[("result", "success")])), 1);
    for kind in ["server", "client_ca"] {
        let expiry = scraped.find("ecr_broker_certificate_expiry_timestamp_seconds", &[("kind", kind)]);
        assert!(expiry.unwrap() > 1_000_000_000.0, "{kind}");
    }
    let calls = |service| {
        let labels = [("service", service), ("result", "ok")];
        count(scraped.value("ecr_broker_upstream_call_duration_seconds_count", &labels))
    };
    assert_eq!((calls("ecr"), calls("sts")), (1, 1), "the role of the profile");
    let identity = scraped.find("ecr_broker_aws_identity_expiry_timestamp_seconds", &[]).unwrap();
    let now = seconds(&SystemClock::new());
    assert!((now + 600..now + 12 * 3_600).contains(&count(identity)), "{identity} {now}");
    broker.stop();
}
