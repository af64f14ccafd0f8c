//! Each limit counts when it is hit.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use ecr_broker::cache::{CredentialCache, Lookup, Settings};
use ecr_broker::caller::Principal;
use ecr_broker::clock::Clock;
use ecr_broker::credential::CredentialKey;
use ecr_broker::limits::{self, Attempt, LimitHits, Limits, Origin, UnprovedCall};
use ecr_broker::metrics::{Exposition, Format, Registry};
use ecr_broker::policy::Policy;

use super::count;
use super::scraped::Scraped;
use super::support::*;
use super::tokens::{Signer, issuers};

/// The limits that were hit, and how often.
fn hits(exposition: &Exposition) -> BTreeMap<String, u64> {
    let scraped = Scraped::parse(&exposition.encode(Format::Prometheus));
    let samples = scraped.samples.into_iter().filter(|sample| sample.name == "ecr_broker_limit_hits_total");
    let counts = samples.map(|mut sample| (sample.labels.remove("limit").unwrap(), count(sample.value)));
    counts.filter(|(_, count)| *count > 0).collect()
}

fn once(limits: &[&str]) -> BTreeMap<String, u64> {
    limits.iter().map(|limit| ((*limit).to_owned(), 1)).collect()
}

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn limits_of(settings: limits::Settings) -> (Limits, Exposition) {
    let (clock, mut registry): (Arc<dyn Clock>, _) = (ManualClock::new(), Registry::default());
    let hits = LimitHits::new(&mut registry);
    let limits = Limits::new(settings, &clock, &hits, &mut registry);
    (limits, Exposition::new(registry))
}

#[test]
fn limits_of_requests_and_watches_count() {
    let settings = limits::Settings {
        in_flight: 20_000,
        local_requests_per_second: number(4_000),
        watch_memory: 1_500,
        watch_memory_per_caller: 1_000,
        ..limits_settings()
    };
    let (limits, exposition) = limits_of(settings.clone());
    let [one, two, three] = [1, 2, 3].map(Principal::Uid);
    let _held = [&one, &two].map(|caller| limits.admit(caller, number(20_000)).unwrap());
    limits.admit(&one, number(1)).unwrap_err();
    limits.admit(&three, number(201)).unwrap_err();
    assert_eq!(hits(&exposition), once(&["caller_requests_in_flight", "requests_in_flight"]));

    let (limits, exposition) = limits_of(settings.clone());
    let burst = limits.admit(&one, number(20_000)).unwrap();
    drop(burst);
    drop(limits.admit(&one, number(20_000)).unwrap());
    limits.admit(&one, number(1)).unwrap_err();
    assert_eq!(hits(&exposition), once(&["caller_request_rate"]), "the burst of ten seconds");

    let (limits, exposition) = limits_of(settings);
    limits.admit_watch(&one, number(32_769), number(1)).unwrap_err();
    let _watches = [&one, &two].map(|caller| limits.admit_watch(caller, number(32_768), number(1)).unwrap());
    limits.admit_watch(&three, number(201), number(1)).unwrap_err();
    limits.admit_watch(&three, number(1), number(1_001)).unwrap_err();
    let _memory = limits.admit_watch(&three, number(1), number(1_000)).unwrap();
    limits.admit_watch(&Principal::Uid(4), number(1), number(1_000)).unwrap_err();
    assert_eq!(hits(&exposition), once(&["caller_watches", "watches", "caller_watch_bytes", "watch_bytes"]));
}

#[test]
fn limits_of_failures_and_memory_count() {
    let (limits, exposition) = limits_of(limits::Settings { failures_per_second: number(1), ..limits_settings() });
    let origin = Origin::Uid(1);
    while limits.check_origin(origin, Attempt::Token).is_ok() {
        limits.record_failure(origin, Attempt::Token);
    }
    assert_eq!(hits(&exposition), once(&["failed_authentications"]));

    let (limits, exposition) = limits_of(limits_settings());
    let proved = limits.request_memory().enter(origin);
    let held = proved.hold(8 * 1024 * 1024 + 1);
    assert!(proved.is_closing());
    drop(held);
    assert_eq!(hits(&exposition), once(&["request_memory"]));
    let unproved = limits.unproved().enter(origin);
    let _call = UnprovedCall::begin(&unproved, 16 * 1024 * 1024 + 1);
    assert_eq!(hits(&exposition), once(&["request_memory", "unproved_memory"]));
}

#[tokio::test]
async fn limits_of_the_cache_count() {
    let (clock, mut registry) = (ManualClock::new(), Registry::default());
    let (source, counts) = (ScriptedSource::new(&clock), LimitHits::new(&mut registry));
    let settings = Settings { capacity: 2, max_waiters: 1, ..cache_settings() };
    let cache = CredentialCache::new(settings, source.clone(), clock, &counts, &mut registry);
    let exposition = Exposition::new(registry);
    let of_caller = |host: &str, uid| {
        let key = CredentialKey { caller: Some(Principal::Uid(uid)), ..key(host) };
        Lookup { key, ..lookup(host) }
    };
    cache.get(of_caller(HOST, 1)).await.unwrap();
    cache.get(of_caller(&host(1), 1)).await.unwrap();
    cache.get(of_caller(HOST, 2)).await.unwrap();
    assert_eq!(hits(&exposition), once(&["caller_credentials", "single_caller_credentials"]));

    let _watched = cache.subscribe(&key(HOST)).unwrap();
    cache.subscribe(&key(&host(1))).unwrap_err();
    source.then(Step::QueueFull(HOUR));
    cache.get(lookup(&host(2))).await.unwrap_err();
    source.shut();
    let waiting = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get(lookup(&host(3))).await.map(drop) }
    });
    source.until_calls(5).await;
    cache.get(lookup(&host(4))).await.unwrap_err();
    waiting.abort();
    let expected =
        ["caller_credentials", "single_caller_credentials", "watched_credentials", "upstream_queue", "waiting_callers"];
    assert_eq!(hits(&exposition), once(&expected));
}

/// Waits until the broker has closed a connection.
fn until_closed(mut stream: impl std::io::Read) {
    _ = stream.read(&mut [0; 64]);
    while stream.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_connections_count() {
    for (total, per_origin, expected) in
        [(100, 1, ["connections_per_address", "connections_per_uid"].as_slice()), (1, 100, ["connections"].as_slice())]
    {
        let broker = TestBroker::start_with(|setup| {
            let connections = &mut setup.config.server.connections;
            (connections.max_connections, connections.max_connections_per_address) = (total, per_origin);
            connections.max_connections_per_uid = per_origin;
        });
        let _kept = (broker.client().await, broker.unix_client().await);
        let (tcp, socket) = (broker.tcp, broker.socket.clone());
        let refused = tokio::task::spawn_blocking(move || {
            until_closed(std::net::TcpStream::connect(tcp).unwrap());
            until_closed(UnixStream::connect(socket).unwrap());
        });
        refused.await.unwrap();
        let hits = hits(&broker.exposition);
        assert_eq!(hits.keys().map(String::as_str).collect::<Vec<_>>(), expected);
        assert_eq!(hits.values().sum::<u64>(), 2);
    }
}

/// Three quarters of four: the fourth connection ends another.
#[tokio::test(flavor = "multi_thread")]
async fn limit_of_unproved_connections_counts() {
    let (cache, signer, keys) = (TestCache::new(), Signer::new("k1"), tempfile::tempdir().unwrap());
    let issuers = issuers(&signer, keys.path(), cache.clock.clone());
    let broker = TestBroker::start_on(cache, Policy::Open, None, |setup| {
        (setup.auth.issuers, setup.config.server.loopback) = (Some(issuers), false);
        setup.config.limits.unproved_connections = 4;
    });
    let mut silent: Vec<_> = (0..4).map(|_| std::net::TcpStream::connect(broker.tcp).unwrap()).collect();
    let first = silent.remove(0);
    tokio::task::spawn_blocking(move || until_closed(first)).await.unwrap();
    assert_eq!(hits(&broker.exposition), once(&["unproved_connections"]));
}

/// Every value of the label is one that a test above, or `limit_hits_and_rejected_tokens_are_counted`, has seen.
#[test]
fn tests_cover_every_limit() {
    let (_, exposition) = limits_of(limits_settings());
    let scraped = Scraped::parse(&exposition.encode(Format::Prometheus));
    let limits = scraped.samples.iter().filter_map(|sample| sample.labels.get("limit"));
    let tests = include_str!("limits.rs");
    assert_eq!(limits.filter(|limit| !tests.contains(&format!("\"{limit}\""))).collect::<Vec<_>>(), [] as [&String; 0]);
}
