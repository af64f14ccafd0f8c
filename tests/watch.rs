//! Watches: the snapshot, refreshes, failures once per kind, and the status at the end.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;
mod tokens;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ecr_broker::audit::Output;
use ecr_broker::broker::{Broker, KnownIds, Watch, WatchUpdate};
use ecr_broker::error::{BrokerError, FailureClass};
use ecr_broker::metrics::Format;
use ecr_broker::pb;
use ecr_broker::pb::watch_registry_credentials_response::Event;
use ecr_broker::policy::{CallerPattern, Effect, Grant, Policy, RegistryPattern, TokenPattern};
use support::*;
use tokens::{AUDIENCE, ISSUER, Signer, bearing, issuers, seconds};
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

/// Returns the next event, which must come within 10 s.
async fn next(events: &mut Events) -> (i32, Event) {
    let event = timeout(Duration::from_secs(10), events.message()).await.expect("an event").unwrap().unwrap();
    (event.index, event.event.unwrap())
}

/// Returns the events of the snapshot by index.
async fn snapshot(events: &mut Events) -> BTreeMap<i32, Event> {
    let mut snapshot = BTreeMap::new();
    loop {
        match next(events).await {
            (_, Event::SnapshotComplete(_)) => return snapshot,
            (index, event) => assert!(snapshot.insert(index, event).is_none(), "one event per index"),
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

/// Another caller reports the cached credential as rejected, which causes a fetch.
async fn refetch(broker: &TestBroker, host: &str) {
    broker.clock.advance(2 * MINUTE);
    let cached = broker.cache.get(lookup(host)).await.unwrap().credential.id();
    _ = broker.cache.get(lookup_rejecting(host, cached)).await;
}

/// Advances the timers only, not the broker's clock.
async fn pass(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

#[tokio::test]
async fn watch_sends_a_snapshot_and_then_every_refresh() {
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
async fn p1_one_fetch_serves_all_watchers() {
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
async fn known_credential_is_confirmed_and_not_sent_again() {
    let broker = TestBroker::start();
    let lookups = [HOST, OTHER].map(|host| broker.cache.get(lookup(host)));
    let [known, other] = lookups.map(|found| async { found.await.unwrap().credential.id().to_string() });
    let (known, other) = (known.await, other.await);
    let mut client = broker.client().await;
    let known_credential_ids = vec![known.clone(), "0".repeat(32)];
    let request = pb::WatchRegistryCredentialsRequest { known_credential_ids, ..watching(&[HOST, OTHER]) };
    let mut events = client.watch_registry_credentials(request).await.unwrap().into_inner();
    let snapshot = snapshot(&mut events).await;
    assert_eq!(snapshot[&0], Event::UnchangedCredentialId(known));
    assert!(matches!(&snapshot[&1], Event::Credentials(credentials) if credentials.credential_id == other));
    refetch(&broker, HOST).await;
    assert_eq!(password(&next(&mut events).await.1), "password-3");
}

#[tokio::test]
async fn thousand_reconnected_watches_resume_without_resending() {
    // On a still clock the rate of a caller admits its burst only: 20,000 registries by default.
    let rate = std::num::NonZeroU32::new(10_000).unwrap();
    let broker = TestBroker::start_with(|setup| setup.config.limits.local_requests_per_second = rate);
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
async fn failure_and_recovery_are_each_reported_once() {
    let broker = TestBroker::start();
    let mut events = watch(&mut broker.client().await, &[HOST]).await;
    snapshot(&mut events).await;
    for class in [FailureClass::Unavailable, FailureClass::Unavailable, FailureClass::Throttled] {
        broker.source.fail(class);
        refetch(&broker, HOST).await;
    }
    // A watcher slower than the failures gets only the last one.
    let mut errors = Vec::new();
    while errors.last().is_none_or(|(_, reason)| reason != "AWS_THROTTLED") {
        errors.push(error(next(&mut events).await.1));
    }
    assert!(errors.len() <= 2, "{errors:?}");
    broker.source.then(Step::Token(12 * HOUR));
    refetch(&broker, HOST).await;
    assert_eq!(password(&next(&mut events).await.1), "password-5");
    // The same token again is not a new credential.
    broker.source.then(Step::SameToken(12 * HOUR));
    refetch(&broker, HOST).await;
    assert_eq!(password(&next(&mut events).await.1), "password-0");
    broker.source.fail(FailureClass::Unavailable);
    refetch(&broker, HOST).await;
    assert_eq!(error(next(&mut events).await.1), (Code::Unavailable.into(), "AWS_UNAVAILABLE".to_owned()));
}

#[tokio::test]
async fn slow_watcher_gets_the_latest_event_only() {
    let broker = TestBroker::start();
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", broker.tcp)).unwrap();
    let narrow = endpoint.initial_stream_window_size(1_024).initial_connection_window_size(65_535);
    let mut client = Client::new(narrow.connect().await.unwrap());
    let mut events = watch(&mut client, &[HOST]).await;
    snapshot(&mut events).await;
    for _ in 0..200 {
        refetch(&broker, HOST).await;
    }
    let mut received = 1;
    while password(&next(&mut events).await.1) != "password-201" {
        received += 1;
    }
    assert!(received < 150, "{received} of 200 were buffered");
}

/// Returns the policy of a configuration text.
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
async fn watch_without_names_follows_the_registries_that_grants_name() {
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

    let without_grant = TestBroker::start_as(
        grants("[[grants]]\nid = \"a\"\ncallers = [{ uid = 1 }]\nregistries = [{ public = true }]\n"),
        None,
        |_| (),
    );
    let rejected = without_grant.client().await.watch_registry_credentials(watching(&[])).await.unwrap_err();
    assert_eq!(rejected.code(), Code::InvalidArgument);
    assert!(rejected.message().contains("list the registries to watch"), "{rejected}");
}

#[tokio::test]
async fn p11_every_sent_credential_is_recorded_and_unchanged_ones_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let broker = TestBroker::start_as(Policy::Open, Some(&Output::File(file.clone())), |_| ());
    let records = || std::fs::read_to_string(&file).unwrap().lines().count();
    let mut client = broker.client().await;
    let mut events = watch(&mut client, &[HOST]).await;
    let first = snapshot(&mut events).await;
    let Event::Credentials(credentials) = &first[&0] else { panic!("{first:?}") };
    let first_id = credentials.credential_id.clone();
    assert_eq!(records(), 1);
    refetch(&broker, HOST).await;
    let (_, second) = next(&mut events).await;
    assert_eq!((password(&second), records()), ("password-2", 2));
    let known_credential_ids = match second {
        Event::Credentials(credentials) => vec![first_id, credentials.credential_id],
        other => panic!("{other:?}"),
    };
    let request = pb::WatchRegistryCredentialsRequest { known_credential_ids, ..watching(&[HOST]) };
    let mut again = client.watch_registry_credentials(request).await.unwrap().into_inner();
    assert!(matches!(snapshot(&mut again).await[&0], Event::UnchangedCredentialId(_)));
    assert_eq!(records(), 2);
}

#[tokio::test]
async fn invalid_watch_request_is_rejected_as_a_whole() {
    let broker = TestBroker::start();
    let mut client = broker.client().await;
    let id = |id: &str, count: usize| pb::WatchRegistryCredentialsRequest {
        known_credential_ids: vec![id.to_owned(); count],
        ..watching(&[HOST])
    };
    for (name, request, field) in [
        ("too many registries", watching(&[HOST; 101]), "requests"),
        ("invalid ID", id("x", 1), "known_credential_ids"),
        ("too many IDs", id(&"0".repeat(32), 1_001), "known_credential_ids"),
    ] {
        let rejected = client.watch_registry_credentials(request).await.unwrap_err();
        let details = rejected.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "REQUEST_INVALID", "{name}");
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, field, "{name}");
    }
    let most = id(&"0".repeat(32), 1_000);
    snapshot(&mut client.watch_registry_credentials(most).await.unwrap().into_inner()).await;
    assert_eq!(snapshot(&mut watch(&mut client, &[HOST; 100]).await).await.len(), 100);
}

#[tokio::test]
async fn p9_watch_ends_at_once_at_shutdown_with_its_reason() {
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
async fn watch_ends_at_its_age_its_deadline_or_its_token_s_expiry() {
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
    // A client with the next token watches again, so that is not a denial.
    let scrape = broker.exposition.encode(Format::Prometheus);
    let none = "ecr_broker_denials_total{reason=\"token\"} 0";
    assert!(scrape.lines().any(|line| line == none), "{scrape}");
    assert!(timeout(Duration::from_millis(50), old.message()).await.is_err(), "the watch without a deadline continues");
    pass(HOUR).await;
    assert!(end(&mut old).await.is_ok());
}

#[tokio::test]
async fn expired_token_ends_the_watch_by_either_clock() {
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
async fn p8_watchers_and_waiters_have_separate_limits() {
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
async fn p8_watched_keys_are_limited_to_half_the_capacity() {
    let test = TestCache::with(ecr_broker::cache::Settings { capacity: 4, ..cache_settings() });
    let changes = |number: usize| test.cache.subscribe(&key(&host(number)));
    let (first, again, second) = (changes(1).unwrap(), changes(1).unwrap(), changes(2).unwrap());
    assert!(matches!(changes(3), Err(BrokerError::Overloaded { .. })));
    drop(first);
    assert!(changes(3).is_err(), "one watch of the key is left");
    drop(again);
    drop((changes(3).unwrap(), second));
}

/// A watch without a connection, on a clock that the test advances.
struct LocalWatch {
    watch: Watch,
    source: Arc<ScriptedSource>,
    clock: Arc<ManualClock>,
    broker: Arc<Broker>,
}

impl LocalWatch {
    fn new(min_validity: Duration) -> Self {
        let TestCache { cache, source, clock, .. } = TestCache::new();
        let broker = support::broker(cache, broker_settings(Policy::Open, None));
        let watch = Watch::new(Arc::clone(&broker), credential_request(HOST, min_validity), KnownIds::default());
        Self { watch, source, clock, broker }
    }

    /// Returns the next update, and the time until it came.
    async fn next_within(&mut self, limit: Duration) -> Option<(WatchUpdate, Duration)> {
        let (mut passed, step) = (Duration::ZERO, Duration::from_secs(10));
        while passed <= limit {
            if let Ok(update) = timeout(Duration::from_millis(1), self.watch.next()).await {
                return Some((update, passed));
            }
            self.clock.advance(step);
            advance(step).await;
            passed += step;
        }
        None
    }
}

fn released(update: &WatchUpdate) -> String {
    match update {
        WatchUpdate::Released(released) => released.found.credential.password().expose().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn watched_credential_is_refreshed_by_time() {
    let mut local = LocalWatch::new(Duration::ZERO);
    let (first, _) = local.next_within(MINUTE).await.unwrap();
    assert_eq!(released(&first), "password-1");
    for number in 2..6 {
        let (update, after) = local.next_within(2 * HOUR).await.unwrap();
        assert_eq!(released(&update), format!("password-{number}"));
        assert!((53 * MINUTE..=69 * MINUTE).contains(&after), "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn watched_credential_meets_min_validity() {
    let mut local = LocalWatch::new(10 * HOUR);
    local.next_within(MINUTE).await.unwrap();
    local.source.fail(FailureClass::Unavailable);
    // After two hours the cached credential lasts less than ten.
    let (update, after) = local.next_within(3 * HOUR).await.unwrap();
    assert!(
        matches!(&update, WatchUpdate::Failed(BrokerError::Upstream(_))) && after <= 67 * MINUTE,
        "{update:?} {after:?}"
    );
    assert!(local.next_within(2 * HOUR).await.is_none(), "the failure is reported once");
    local.source.then(Step::Token(12 * HOUR));
    let (update, after) = local.next_within(HOUR).await.unwrap();
    released(&update);
    assert!(after <= 2 * MINUTE, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn p6_outage_is_reported_once_and_costs_one_call_per_backoff() {
    let mut local = LocalWatch::new(Duration::ZERO);
    local.next_within(MINUTE).await.unwrap();
    local.source.fail(FailureClass::Throttled);
    assert!(matches!(local.next_within(2 * HOUR).await, Some((WatchUpdate::Failed(_), _))));
    let before = local.source.calls();
    assert!(local.next_within(HOUR).await.is_none());
    let calls = local.source.calls() - before;
    assert!((60..=125).contains(&calls), "{calls} calls in an hour");
    // A permanent denial drops the cached credential, and the watcher gets the failure.
    local.source.fail(FailureClass::Denied);
    assert!(matches!(local.next_within(5 * MINUTE).await, Some((WatchUpdate::Failed(_), _))));
    local.source.then(Step::Token(12 * HOUR));
    let (update, after) = local.next_within(5 * MINUTE).await.unwrap();
    released(&update);
    assert!(after <= 2 * MINUTE, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn unchanged_credential_clears_a_failure() {
    let mut local = LocalWatch::new(Duration::ZERO);
    local.source.then(Step::SameToken(12 * HOUR));
    let (first, _) = local.next_within(MINUTE).await.unwrap();
    assert_eq!(released(&first), "password-0");
    local.source.fail(FailureClass::Unavailable);
    assert!(matches!(local.next_within(2 * HOUR).await, Some((WatchUpdate::Failed(_), _))));
    local.source.then(Step::SameToken(12 * HOUR));
    assert!(matches!(local.next_within(5 * MINUTE).await, Some((WatchUpdate::Unchanged(_), _))));
}

#[tokio::test(start_paused = true)]
async fn changed_grants_end_and_restore_a_watch() {
    let mut local = LocalWatch::new(Duration::ZERO);
    local.next_within(MINUTE).await.unwrap();
    local.broker.set_policy(Policy::Grants(Vec::new()));
    assert!(matches!(
        local.next_within(2 * MINUTE).await,
        Some((WatchUpdate::Failed(BrokerError::CallerNotAllowed), _))
    ));
    assert!(local.next_within(3 * HOUR).await.is_none(), "a denied registry has no updates");
    assert_eq!(local.source.calls(), 1);
    local.broker.set_policy(Policy::Open);
    // The cached credential is still valid, and its refresh is overdue.
    assert!(matches!(local.next_within(2 * MINUTE).await, Some((WatchUpdate::Unchanged(_), _))));
    let (update, _) = local.next_within(MINUTE).await.unwrap();
    assert_eq!(released(&update), "password-2");
}

/// A watch that is kept open although it is denied would keep what its caller sent for as long as a connection lives.
#[tokio::test]
async fn watch_ends_with_the_denial_once_every_registry_is_denied() {
    let broker = TestBroker::start_as(grants(&grant_of(&[HOST])), None, |_| ());
    let mut client = broker.client().await;
    let mut denied = watch(&mut client, &[OTHER, OTHER]).await;
    for _ in 0..2 {
        assert_eq!(error(next(&mut denied).await.1).1, "CALLER_NOT_ALLOWED");
    }
    let status = end(&mut denied).await.unwrap_err();
    let info = status.get_error_details().error_info().unwrap().clone();
    assert_eq!((status.code(), info.reason.as_str()), (Code::PermissionDenied, "CALLER_NOT_ALLOWED"));
    // An invalid request beside it changes nothing; alone, it ends the watch with its own error.
    let mut mixed = watch(&mut client, &[OTHER, "ghcr.io"]).await;
    assert_eq!(end(&mut mixed).await.unwrap_err().code(), Code::PermissionDenied);
    let mut invalid = watch(&mut client, &["ghcr.io"]).await;
    assert_eq!(end(&mut invalid).await.unwrap_err().code(), Code::InvalidArgument);
    // One allowed registry keeps the watch open, until new grants deny it.
    let mut open = watch(&mut client, &[OTHER, HOST]).await;
    assert_eq!(snapshot(&mut open).await.len(), 2);
    broker.broker.set_policy(Policy::Grants(Vec::new()));
    pass(2 * MINUTE).await;
    assert_eq!(end(&mut open).await.unwrap_err().code(), Code::PermissionDenied);
}

fn token_grant(id: &str, claims: &[(&str, &str)], effect: Effect) -> Grant {
    let claims = claims.iter().map(|(name, text)| ((*name).to_owned(), text.parse().unwrap())).collect();
    let callers = vec![CallerPattern::Token(TokenPattern { issuer: "blue".into(), subject: None, claims })];
    let profile = (effect == Effect::Allow).then(|| "default".into());
    Grant {
        id: id.into(),
        callers,
        registries: vec![RegistryPattern::every_private()],
        profile,
        effect,
        max_lifetime: None,
    }
}

/// A caller keeps only the claims that grants name. A deny by another claim must not miss it, neither in a watch nor in the cache of
/// verified tokens.
#[tokio::test]
async fn new_grants_by_other_claims_end_watches_and_deny_at_once() {
    let (cache, signer, keys) = (TestCache::new(), Signer::new("k1"), tempfile::tempdir().unwrap());
    let issuers = issuers(&signer, keys.path(), cache.clock.clone());
    let allow = || token_grant("all", &[], Effect::Allow);
    let policy = Policy::Grants(vec![allow()]);
    let broker = TestBroker::start_on(cache, policy, None, |setup| setup.auth.issuers = Some(issuers));
    let mut client = broker.client().await;
    let now = seconds(&*broker.clock);
    let claims = format!(
        r#"{{"iss":"{ISSUER}","sub":"runner","aud":"{AUDIENCE}","iat":{now},"exp":{},"ref":"main"}}"#,
        now + 600
    );
    let token = signer.sign(&signer.header(), &claims);
    let mut events = client.watch_registry_credentials(bearing(&token, watching(&[HOST]))).await.unwrap().into_inner();
    snapshot(&mut events).await;

    let deny = token_grant("not-main", &[("ref", "main")], Effect::Deny);
    broker.broker.set_policy(Policy::Grants(vec![allow(), deny]));
    let denied = client.get_registry_credentials(bearing(&token, request(HOST))).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    pass(2 * MINUTE).await;
    let ended = end(&mut events).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated);
    assert!(ended.get_error_details().retry_info().is_some(), "{ended:?}");
    broker.broker.set_policy(Policy::Grants(vec![allow()]));
    client.get_registry_credentials(bearing(&token, request(HOST))).await.unwrap();
}
