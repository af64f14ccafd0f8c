//! Watches: a snapshot, every refresh, every kind of failure once, and an end that says why.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;
mod tokens;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ecr_broker::audit::Output;
use ecr_broker::broker::{Broker, Watch, WatchUpdate};
use ecr_broker::error::{BrokerError, FailureClass};
use ecr_broker::pb;
use ecr_broker::pb::watch_registry_credentials_response::Event;
use ecr_broker::policy::Policy;
use support::*;
use tokens::{ISSUER, Signer, bearing, issuers, seconds};
use tokio::time::{advance, pause, resume, timeout};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

const OTHER: &str = "210987654321.dkr.ecr.us-east-1.amazonaws.com";

type Events = Streaming<pb::WatchRegistryCredentialsResponse>;

fn watching(registries: &[&str]) -> pb::WatchRegistryCredentialsRequest {
    let requests = registries.iter().map(|registry| request(registry)).collect();
    pb::WatchRegistryCredentialsRequest { requests, known_credential_ids: Vec::new() }
}

async fn watch(client: &mut Client, registries: &[&str]) -> Events {
    client.watch_registry_credentials(watching(registries)).await.unwrap().into_inner()
}

/// The next event, which must come soon.
async fn next(events: &mut Events) -> (i32, Event) {
    let event = timeout(Duration::from_secs(10), events.message()).await.expect("an event").unwrap().unwrap();
    (event.index, event.event.unwrap())
}

/// What comes before the snapshot is complete, by index.
async fn snapshot(events: &mut Events) -> BTreeMap<i32, Event> {
    let mut snapshot = BTreeMap::new();
    loop {
        match next(events).await {
            (_, Event::SnapshotComplete(_)) => return snapshot,
            (index, event) => assert!(snapshot.insert(index, event).is_none(), "one event each"),
        }
    }
}

async fn end(events: &mut Events) -> Result<(), Status> {
    timeout(Duration::from_secs(10), async {
        while events.message().await?.is_some() {}
        Ok(())
    })
    .await
    .expect("an end")
}

fn password(event: &Event) -> &str {
    match event {
        Event::Credentials(credentials) => &credentials.password,
        other => panic!("{other:?}"),
    }
}

fn error(event: Event) -> (i32, String) {
    let Event::Error(error) = event else { panic!("{event:?}") };
    let details = prost::Message::encode_to_vec(&error).into();
    let status = Status::with_details(error.code.into(), error.message, details);
    let details = status.get_error_details();
    assert!(details.request_info().is_some_and(|info| info.request_id.len() == 32));
    (error.code, details.error_info().unwrap().reason.clone())
}

/// Somebody else has the registry refuse what is held, and so a fetch made.
async fn refetch(broker: &TestBroker, host: &str) {
    broker.clock.advance(2 * MINUTE);
    let held = broker.cache.get(lookup(host)).await.unwrap().credential.id();
    _ = broker.cache.get(lookup_rejecting(host, held)).await;
}

/// Lets time pass for timers alone.
async fn pass(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

#[tokio::test]
async fn a_watch_begins_with_a_snapshot_and_goes_on_with_every_refresh() {
    let broker = TestBroker::start();
    let mut events = watch(&mut broker.client().await, &[HOST, "ghcr.io/x", "public.ecr.aws", OTHER]).await;
    let snapshot = snapshot(&mut events).await;
    let Some(Event::Credentials(public)) = snapshot.get(&2) else { panic!("{snapshot:?}") };
    assert_eq!((public.registry.as_str(), public.cache_status()), ("public.ecr.aws", pb::CacheStatus::Miss));
    assert_eq!(error(snapshot[&1].clone()), (Code::InvalidArgument.into(), "REGISTRY_NOT_ECR".to_owned()));
    assert_eq!((snapshot.len(), broker.source.calls()), (4, 3));
    for expected in ["password-4", "password-5"] {
        refetch(&broker, OTHER).await;
        let (index, event) = next(&mut events).await;
        assert_eq!((index, password(&event)), (3, expected));
    }
}

#[tokio::test]
async fn one_fetch_serves_all_who_watch() {
    let broker = TestBroker::start();
    broker.source.shut();
    let mut client = broker.client().await;
    let mut watches = Vec::new();
    for _ in 0..90 {
        watches.push(watch(&mut client, &[HOST]).await);
    }
    broker.source.until_calls(1).await;
    broker.source.open();
    for events in &mut watches {
        assert_eq!(password(&snapshot(events).await[&0]), "password-1");
    }
    refetch(&broker, HOST).await;
    for events in &mut watches {
        assert_eq!(password(&next(events).await.1), "password-2");
    }
    assert_eq!(broker.source.calls(), 2);
}

#[tokio::test]
async fn what_a_watcher_holds_is_not_sent_again() {
    let broker = TestBroker::start();
    let held = [HOST, OTHER].map(|host| broker.cache.get(lookup(host)));
    let [own, other] = held.map(|held| async { held.await.unwrap().credential.id().to_string() });
    let (own, other) = (own.await, other.await);
    let mut client = broker.client().await;
    let known_credential_ids = vec![own.clone(), "0".repeat(32)];
    let request = pb::WatchRegistryCredentialsRequest { known_credential_ids, ..watching(&[HOST, OTHER]) };
    let mut events = client.watch_registry_credentials(request).await.unwrap().into_inner();
    let snapshot = snapshot(&mut events).await;
    assert_eq!(snapshot[&0], Event::UnchangedCredentialId(own));
    assert!(matches!(&snapshot[&1], Event::Credentials(credentials) if credentials.credential_id == other));
    refetch(&broker, HOST).await;
    assert_eq!(password(&next(&mut events).await.1), "password-3");
}

#[tokio::test]
async fn a_thousand_nodes_that_come_back_are_sent_nothing_again_and_are_all_told_of_the_next_refresh() {
    let broker = TestBroker::start();
    let hosts: Vec<_> = (0..20).map(host).collect();
    let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
    let first = snapshot(&mut watch(&mut broker.client().await, &hosts).await).await;
    let id = |event: &Event| match event {
        Event::Credentials(credentials) => credentials.credential_id.clone(),
        other => panic!("{other:?}"),
    };
    let known_credential_ids: Vec<_> = first.values().map(id).collect();
    let mut nodes = Vec::new();
    for _ in 0..10 {
        let mut client = broker.client().await;
        for _ in 0..100 {
            let known_credential_ids = known_credential_ids.clone();
            let request = pb::WatchRegistryCredentialsRequest { known_credential_ids, ..watching(&hosts) };
            nodes.push(client.watch_registry_credentials(request).await.unwrap().into_inner());
        }
    }
    for node in &mut nodes {
        let again = snapshot(node).await;
        assert!(again.len() == 20 && again.values().all(|event| matches!(event, Event::UnchangedCredentialId(_))));
    }
    refetch(&broker, hosts[7]).await;
    for node in &mut nodes {
        let (index, event) = next(node).await;
        assert_eq!((index, password(&event)), (7, "password-21"));
    }
    assert_eq!(broker.source.calls(), 21);
}

#[tokio::test]
async fn a_failure_is_told_once_of_its_kind_and_so_is_its_end() {
    let broker = TestBroker::start();
    let mut events = watch(&mut broker.client().await, &[HOST]).await;
    snapshot(&mut events).await;
    for class in [FailureClass::Unavailable, FailureClass::Unavailable, FailureClass::Throttled] {
        broker.source.fail(class);
        refetch(&broker, HOST).await;
    }
    // A watcher that is slower than the failures hears of the last alone.
    let mut told = Vec::new();
    while told.last().is_none_or(|(_, reason)| reason != "AWS_THROTTLED") {
        told.push(error(next(&mut events).await.1));
    }
    assert!(told.len() <= 2, "{told:?}");
    broker.source.then(Step::Token(12 * HOUR));
    refetch(&broker, HOST).await;
    assert_eq!(password(&next(&mut events).await.1), "password-5");
    // The same token again is no new credential.
    broker.source.then(Step::SameToken(12 * HOUR));
    refetch(&broker, HOST).await;
    assert_eq!(password(&next(&mut events).await.1), "password-0");
    broker.source.fail(FailureClass::Unavailable);
    refetch(&broker, HOST).await;
    assert_eq!(error(next(&mut events).await.1), (Code::Unavailable.into(), "AWS_UNAVAILABLE".to_owned()));
}

#[tokio::test]
async fn a_watcher_that_takes_nothing_gets_the_latest_and_not_all() {
    let broker = TestBroker::start();
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", broker.tcp)).unwrap();
    let narrow = endpoint.initial_stream_window_size(1_024).initial_connection_window_size(65_535);
    let mut client = Client::new(narrow.connect().await.unwrap());
    let mut events = watch(&mut client, &[HOST]).await;
    snapshot(&mut events).await;
    for _ in 0..200 {
        refetch(&broker, HOST).await;
    }
    let mut taken = 1;
    while password(&next(&mut events).await.1) != "password-201" {
        taken += 1;
    }
    assert!(taken < 150, "{taken} of 200 were kept for it");
}

/// What the grants of a file say.
fn grants(text: &str) -> Policy {
    use ecr_broker::config::{Config, Files, Sources};
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let sources = Sources { files: Files::read(Some(file.path())), ..Sources::default() };
    Config::load(&sources).unwrap().policy
}

fn grant_of(hosts: &[&str]) -> String {
    let registries = hosts.iter().map(|host| {
        let account = &host[..12];
        let region = host.split('.').nth(3).unwrap();
        format!("{{ accounts = [\"{account}\"], regions = [\"{region}\"] }}")
    });
    let registries = registries.collect::<Vec<_>>().join(", ");
    format!(
        "[[grants]]\nid = \"a\"\ncallers = [{{ loopback = true }}]\nregistries = [{registries}, {{ public = true }}]\n"
    )
}

#[tokio::test]
async fn who_names_nothing_watches_what_grants_name_and_what_they_come_to_name() {
    let broker = TestBroker::start_as(grants(&grant_of(&[HOST])), None, |_| ());
    let mut events = watch(&mut broker.client().await, &[]).await;
    let first = snapshot(&mut events).await;
    let hosts = |events: &BTreeMap<i32, Event>| -> HashSet<String> {
        let host = |event: &Event| match event {
            Event::Credentials(credentials) => credentials.registry.clone(),
            other => panic!("{other:?}"),
        };
        events.values().map(host).collect()
    };
    let hosts = hosts(&first);
    assert!(hosts.contains(HOST) && hosts.contains("public.ecr.aws"), "{hosts:?}");
    let count = i32::try_from(first.len()).unwrap();

    broker.broker.set_policy(grants(&grant_of(&[OTHER])));
    pass(2 * MINUTE).await;
    let (mut added, mut denied) = (HashSet::new(), 0);
    while added.is_empty() || denied == 0 {
        match next(&mut events).await {
            (index, Event::Credentials(credentials)) => {
                assert!(index >= count);
                added.insert(credentials.registry);
            }
            (_, event) => {
                assert_eq!(error(event).1, "CALLER_NOT_ALLOWED");
                denied += 1;
            }
        }
    }
    assert!(added.iter().all(|host| host.starts_with("210987654321.")), "{added:?}");

    let nothing = TestBroker::start_as(
        grants("[[grants]]\nid = \"a\"\ncallers = [{ uid = 1 }]\nregistries = [{ public = true }]\n"),
        None,
        |_| (),
    );
    let refused = nothing.client().await.watch_registry_credentials(watching(&[])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("name the registries to watch"), "{refused}");
}

#[tokio::test]
async fn p11_every_credential_that_is_pushed_is_on_record_and_what_is_unchanged_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let broker = TestBroker::start_as(Policy::Open, Some(&Output::File(file.clone())), |_| ());
    let records = || std::fs::read_to_string(&file).unwrap().lines().count();
    let mut client = broker.client().await;
    let mut events = watch(&mut client, &[HOST]).await;
    let first = snapshot(&mut events).await;
    let Event::Credentials(held) = &first[&0] else { panic!("{first:?}") };
    assert_eq!(records(), 1);
    refetch(&broker, HOST).await;
    let (_, second) = next(&mut events).await;
    assert_eq!((password(&second), records()), ("password-2", 2));
    let known_credential_ids = match second {
        Event::Credentials(credentials) => vec![held.credential_id.clone(), credentials.credential_id],
        other => panic!("{other:?}"),
    };
    let request = pb::WatchRegistryCredentialsRequest { known_credential_ids, ..watching(&[HOST]) };
    let mut again = client.watch_registry_credentials(request).await.unwrap().into_inner();
    assert!(matches!(snapshot(&mut again).await[&0], Event::UnchangedCredentialId(_)));
    assert_eq!(records(), 2);
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_refused_as_a_whole() {
    let broker = TestBroker::start();
    let mut client = broker.client().await;
    let id = |id: &str, count: usize| pb::WatchRegistryCredentialsRequest {
        known_credential_ids: vec![id.to_owned(); count],
        ..watching(&[HOST])
    };
    for (name, request, field) in [
        ("too many registries", watching(&[HOST; 101]), "requests"),
        ("no id", id("x", 1), "known_credential_ids"),
        ("too many ids", id(&"0".repeat(32), 1_001), "known_credential_ids"),
    ] {
        let refused = client.watch_registry_credentials(request).await.unwrap_err();
        let details = refused.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "REQUEST_INVALID", "{name}");
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, field, "{name}");
    }
    let most = id(&"0".repeat(32), 1_000);
    snapshot(&mut client.watch_registry_credentials(most).await.unwrap().into_inner()).await;
    assert_eq!(snapshot(&mut watch(&mut client, &[HOST; 100]).await).await.len(), 100);
}

#[tokio::test]
async fn p9_a_watch_ends_at_once_when_the_broker_does_and_says_why() {
    let broker = TestBroker::start();
    let mut client = broker.client().await;
    let mut events = watch(&mut client, &[HOST]).await;
    snapshot(&mut events).await;
    broker.source.shut();
    let mut waiting = watch(&mut client, &[OTHER]).await;
    broker.source.until_calls(2).await;
    let stopped = tokio::spawn(broker.stop());
    for events in [&mut events, &mut waiting] {
        let status = end(events).await.unwrap_err();
        let details = status.get_error_details();
        assert_eq!(
            (status.code(), details.error_info().unwrap().reason.as_str()),
            (Code::Unavailable, "SHUTTING_DOWN")
        );
        assert!(details.retry_info().is_some() && details.request_info().is_some());
    }
    drop(client);
    timeout(Duration::from_secs(10), stopped).await.expect("an end").unwrap();
}

#[tokio::test]
async fn a_watch_ends_with_its_age_its_deadline_and_the_token_of_its_caller() {
    let (cache, signer, keys) = (TestCache::new(), Signer::new("k1"), tempfile::tempdir().unwrap());
    let issuers = issuers(&signer, keys.path(), cache.clock.clone());
    let broker = TestBroker::start_on(cache, Policy::Open, None, |setup| setup.auth.issuers = Some(issuers));
    let mut client = broker.client().await;

    let mut old = watch(&mut client, &[HOST]).await;
    snapshot(&mut old).await;
    let mut late = tonic::Request::new(watching(&[HOST]));
    late.set_timeout(10 * MINUTE);
    let mut late = client.watch_registry_credentials(late).await.unwrap().into_inner();
    snapshot(&mut late).await;
    let token = signer.token(ISSUER, "runner", seconds(&*broker.clock));
    let mut expired = client.watch_registry_credentials(bearing(&token, watching(&[HOST]))).await.unwrap().into_inner();
    snapshot(&mut expired).await;

    pass(11 * MINUTE).await;
    assert_eq!(end(&mut late).await.unwrap_err().code(), Code::DeadlineExceeded);
    let status = end(&mut expired).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("expired"), "{status}");
    assert!(timeout(Duration::from_millis(50), old.message()).await.is_err(), "it goes on");
    pass(HOUR).await;
    assert!(end(&mut old).await.is_ok());
}

#[tokio::test]
async fn nothing_goes_to_a_caller_whose_token_has_ended_by_any_clock() {
    let (cache, signer, keys) = (TestCache::new(), Signer::new("k1"), tempfile::tempdir().unwrap());
    let issuers = issuers(&signer, keys.path(), cache.clock.clone());
    let broker = TestBroker::start_on(cache, Policy::Open, None, |setup| setup.auth.issuers = Some(issuers));
    let mut client = broker.client().await;
    let token = signer.token(ISSUER, "runner", seconds(&*broker.clock));
    let mut events = client.watch_registry_credentials(bearing(&token, watching(&[HOST]))).await.unwrap().into_inner();
    snapshot(&mut events).await;
    refetch(&broker, HOST).await;
    assert_eq!(password(&next(&mut events).await.1), "password-2");
    broker.clock.step_wall_forward(10 * MINUTE);
    refetch(&broker, HOST).await;
    let ended = timeout(Duration::from_secs(10), events.message()).await.expect("an end").unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn p8_those_who_watch_do_not_take_the_places_of_those_who_wait() {
    let cache = TestCache::with(ecr_broker::cache::Settings { max_waiters: 8, ..cache_settings() });
    let broker = TestBroker::start_on(cache, Policy::Open, None, |_| ());
    broker.source.shut();
    let hosts: Vec<_> = (0..8).map(host).collect();
    let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
    let mut events = watch(&mut broker.client().await, &hosts).await;
    for _ in 0..6 {
        assert_eq!(error(next(&mut events).await.1).1, "OVERLOADED");
    }
    broker.source.until_calls(2).await;
    let mut client = broker.client().await;
    let waiting = tokio::spawn(async move { client.get_registry_credentials(request(HOST)).await.map(drop) });
    broker.source.until_calls(3).await;
    broker.source.open();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn p8_half_of_what_the_cache_holds_may_be_watched() {
    let test = TestCache::with(ecr_broker::cache::Settings { capacity: 4, ..cache_settings() });
    let changes = |number: usize| test.cache.changes(&key(&host(number)));
    let (first, again, second) = (changes(1).unwrap(), changes(1).unwrap(), changes(2).unwrap());
    assert!(matches!(changes(3), Err(BrokerError::Overloaded { .. })));
    drop(first);
    assert!(changes(3).is_err(), "it is watched still");
    drop(again);
    drop((changes(3).unwrap(), second));
}

/// A watch without a connection, in time that passes as fast as it is asked to.
struct Alone {
    watch: Watch,
    source: Arc<ScriptedSource>,
    clock: Arc<ManualClock>,
    broker: Arc<Broker>,
}

impl Alone {
    fn new(min_validity: Duration) -> Self {
        let TestCache { cache, source, clock, .. } = TestCache::new();
        let broker = Arc::new(Broker::new(cache, broker_settings(Policy::Open, None), None));
        let watch = Watch::new(Arc::clone(&broker), credential_request(HOST, min_validity), Arc::default());
        Self { watch, source, clock, broker }
    }

    /// What is new, and how long it took to come.
    async fn next_within(&mut self, limit: Duration) -> Option<(WatchUpdate, Duration)> {
        let (mut passed, step) = (Duration::ZERO, Duration::from_secs(10));
        while passed <= limit {
            if let Ok(news) = timeout(Duration::from_millis(1), self.watch.next()).await {
                return Some((news, passed));
            }
            self.clock.advance(step);
            advance(step).await;
            passed += step;
        }
        None
    }
}

fn released(news: &WatchUpdate) -> String {
    match news {
        WatchUpdate::Released(released) => released.found.credential.password().expose().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_watched_credential_is_refreshed_by_time_and_not_only_when_somebody_asks() {
    let mut alone = Alone::new(Duration::ZERO);
    let (first, _) = alone.next_within(MINUTE).await.unwrap();
    assert_eq!(released(&first), "password-1");
    for number in 2..6 {
        let (news, after) = alone.next_within(2 * HOUR).await.unwrap();
        assert_eq!(released(&news), format!("password-{number}"));
        assert!((53 * MINUTE..=69 * MINUTE).contains(&after), "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_has_what_lasts_as_long_as_it_asked() {
    let mut alone = Alone::new(10 * HOUR);
    alone.next_within(MINUTE).await.unwrap();
    alone.source.fail(FailureClass::Unavailable);
    // After two hours what there is lasts less than ten.
    let (news, after) = alone.next_within(3 * HOUR).await.unwrap();
    assert!(
        matches!(&news, WatchUpdate::Failed(BrokerError::Upstream(_))) && after <= 67 * MINUTE,
        "{news:?} {after:?}"
    );
    assert!(alone.next_within(2 * HOUR).await.is_none(), "said once");
    alone.source.then(Step::Token(12 * HOUR));
    let (news, after) = alone.next_within(HOUR).await.unwrap();
    released(&news);
    assert!(after <= 2 * MINUTE, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn p6_an_outage_is_told_once_and_costs_one_call_a_hold_and_its_end_is_found() {
    let mut alone = Alone::new(Duration::ZERO);
    alone.next_within(MINUTE).await.unwrap();
    alone.source.fail(FailureClass::Throttled);
    assert!(matches!(alone.next_within(2 * HOUR).await, Some((WatchUpdate::Failed(_), _))));
    let before = alone.source.calls();
    assert!(alone.next_within(HOUR).await.is_none());
    let calls = alone.source.calls() - before;
    assert!((60..=125).contains(&calls), "{calls} calls in an hour");
    // AWS refuses for good: what is held is dropped, and the watcher is told so.
    alone.source.fail(FailureClass::Denied);
    assert!(matches!(alone.next_within(5 * MINUTE).await, Some((WatchUpdate::Failed(_), _))));
    alone.source.then(Step::Token(12 * HOUR));
    let (news, after) = alone.next_within(5 * MINUTE).await.unwrap();
    released(&news);
    assert!(after <= 2 * MINUTE, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_turns_out_to_be_the_same_ends_a_failure_all_the_same() {
    let mut alone = Alone::new(Duration::ZERO);
    alone.source.then(Step::SameToken(12 * HOUR));
    let (first, _) = alone.next_within(MINUTE).await.unwrap();
    assert_eq!(released(&first), "password-0");
    alone.source.fail(FailureClass::Unavailable);
    assert!(matches!(alone.next_within(2 * HOUR).await, Some((WatchUpdate::Failed(_), _))));
    alone.source.then(Step::SameToken(12 * HOUR));
    assert!(matches!(alone.next_within(5 * MINUTE).await, Some((WatchUpdate::Unchanged(_), _))));
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_goes_ends_what_it_gave_and_one_that_comes_begins_it() {
    let mut alone = Alone::new(Duration::ZERO);
    alone.next_within(MINUTE).await.unwrap();
    alone.broker.set_policy(Policy::Grants(Vec::new()));
    assert!(matches!(
        alone.next_within(2 * MINUTE).await,
        Some((WatchUpdate::Failed(BrokerError::CallerNotAllowed), _))
    ));
    assert!(alone.next_within(3 * HOUR).await.is_none(), "denied, and not refreshed");
    assert_eq!(alone.source.calls(), 1);
    alone.broker.set_policy(Policy::Open);
    // What it holds is still good, and long due.
    assert!(matches!(alone.next_within(2 * MINUTE).await, Some((WatchUpdate::Unchanged(_), _))));
    let (news, _) = alone.next_within(MINUTE).await.unwrap();
    assert_eq!(released(&news), "password-2");
}
