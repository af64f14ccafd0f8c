//! The status for operators: who may read it, and what it shows.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;
mod support;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use ecr_broker::audit::Output;
use ecr_broker::error::FailureClass;
use ecr_broker::pb;
use ecr_broker::pb::operator_service_client::OperatorServiceClient;
use ecr_broker::policy::{CallerPattern, Effect, Grant, Policy, RegistryPattern};
use support::*;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

type Operator = OperatorServiceClient<Channel>;

fn own_uid() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

fn operators(caller: CallerPattern) -> Grant {
    Grant {
        id: "ops".into(),
        callers: vec![caller],
        registries: Vec::new(),
        profile: None,
        effect: Effect::Operate,
        max_lifetime: None,
    }
}

fn public(caller: CallerPattern) -> Grant {
    let registries = vec![RegistryPattern::Public];
    Grant {
        id: "ci".into(),
        callers: vec![caller],
        registries,
        profile: Some("default".into()),
        effect: Effect::Allow,
        max_lifetime: None,
    }
}

/// Loopback may read the status.
fn broker() -> TestBroker {
    TestBroker::start_as(Policy::Grants(vec![operators(CallerPattern::Loopback)]), None, |_| ())
}

async fn local(broker: &TestBroker) -> Operator {
    Operator::new(broker.channel().await)
}

async fn by_socket(broker: &TestBroker) -> Operator {
    let uri = format!("unix://{}", broker.socket.display());
    Operator::new(Endpoint::from_shared(uri).unwrap().connect().await.unwrap())
}

async fn status(client: &mut Operator, request: pb::GetStatusRequest) -> Result<pb::GetStatusResponse, Status> {
    client.get_status(request).await.map(tonic::Response::into_inner)
}

async fn first_page(client: &mut Operator) -> pb::GetStatusResponse {
    status(client, pb::GetStatusRequest::default()).await.unwrap()
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().unwrap().reason.clone()
}

fn seconds(duration: Option<prost_types::Duration>) -> i64 {
    duration.unwrap().seconds
}

#[tokio::test]
async fn only_owners_and_granted_callers_read_the_status() {
    let open = TestBroker::start();
    first_page(&mut by_socket(&open).await).await;
    let denied = status(&mut local(&open).await, pb::GetStatusRequest::default()).await.unwrap_err();
    assert_eq!((denied.code(), reason(&denied).as_str()), (Code::PermissionDenied, "CALLER_NOT_ALLOWED"));

    let granted = broker();
    first_page(&mut local(&granted).await).await;
    first_page(&mut by_socket(&granted).await).await;
    granted.broker.set_policy(Policy::Grants(vec![public(CallerPattern::Loopback)]));
    status(&mut local(&granted).await, pb::GetStatusRequest::default()).await.unwrap_err();
    granted.broker.set_policy(Policy::Observed(vec![operators(CallerPattern::Uid(own_uid() + 1))]));
    let observed = status(&mut local(&granted).await, pb::GetStatusRequest::default()).await.unwrap_err();
    assert_eq!(reason(&observed), "CALLER_NOT_ALLOWED", "observe mode is about credentials");
}

/// A caller that may not read the status must not learn more by asking for something else.
#[tokio::test]
async fn denial_is_the_same_for_every_request_and_is_audited() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let policy = Policy::Grants(vec![public(CallerPattern::Loopback)]);
    let broker = TestBroker::start_as(policy, Some(&Output::File(file.clone())), |_| ());
    broker.cache.get(lookup(HOST)).await.unwrap();
    let mut client = local(&broker).await;
    let mut seen = Vec::new();
    for request in [
        pb::GetStatusRequest::default(),
        pb::GetStatusRequest { account_id: "123456789012".into(), ..Default::default() },
        pb::GetStatusRequest { page_token: "nonsense".into(), ..Default::default() },
        pb::GetStatusRequest { profile: "no-such-profile".into(), ..Default::default() },
    ] {
        let denied = status(&mut client, request).await.unwrap_err();
        seen.push((denied.code(), denied.message().to_owned(), reason(&denied)));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
    let records = fs::read_to_string(&file).unwrap();
    let record: serde_json::Value = serde_json::from_str(records.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&record["outcome"], &record["operation"], &record["caller"]),
        (&"denied".into(), &"status".into(), &"loopback".into())
    );
    assert_eq!(records.lines().count(), 4, "{records}");
}

#[tokio::test]
async fn page_counts_as_one_request_for_each_ten_keys() {
    let broker = TestBroker::start_as(Policy::Grants(vec![operators(CallerPattern::Loopback)]), None, |setup| {
        setup.config.limits.in_flight = 30;
    });
    let mut client = local(&broker).await;
    let page = |page_size| pb::GetStatusRequest { page_size, ..Default::default() };
    status(&mut client, page(300)).await.unwrap();
    let limited = status(&mut client, page(301)).await.unwrap_err();
    assert_eq!(reason(&limited), "CALLER_RATE_LIMITED");
}

#[tokio::test]
async fn status_shows_each_key_with_its_times_counts_and_failure() {
    let broker = broker();
    let mut client = local(&broker).await;
    let other = host(7);
    for _ in 0..3 {
        broker.cache.get(lookup(HOST)).await.unwrap();
    }
    broker.source.fail(FailureClass::Throttled);
    broker.cache.get(lookup(&other)).await.unwrap_err();
    broker.clock.advance(Duration::from_secs(20));
    let shown = first_page(&mut client).await;
    let [failing, cached] = shown.keys.as_slice() else { panic!("{shown:?}") };
    assert_eq!((failing.registry.as_str(), &failing.cached), (other.as_str(), &None));
    let failure = failing.failure.as_ref().unwrap();
    assert_eq!((failure.reason.as_str(), seconds(failure.age)), ("AWS_THROTTLED", 20));
    assert_eq!((cached.registry.as_str(), cached.account_id.as_str()), (HOST, "123456789012"));
    assert_eq!((cached.region.as_str(), cached.profile.as_str()), ("eu-central-1", "default"));
    assert_eq!(cached.failure, None);
    let times = cached.cached.as_ref().unwrap();
    assert_eq!((times.hits, times.coalesced, times.stale), (2, 0, false));
    assert_eq!(seconds(times.remaining), 12 * 3600 - 20);
    assert!((3_000..=4_000).contains(&seconds(times.refresh_in)), "{times:?}");
    let cache = shown.cache.unwrap();
    assert_eq!((cache.cached, cache.failing, cache.matching), (1, 1, 2));
    assert_eq!(seconds(shown.uptime), 20);
    assert_eq!(shown.policy_mode(), pb::PolicyMode::Enforce);
    let failed: Vec<_> = shown.checks.iter().filter(|check| !check.passed).map(pb::ReadinessCheck::name).collect();
    // The first fill of cache.keep_warm, which is empty, may not have ended yet.
    assert!(failed.iter().all(|name| *name == pb::ReadinessCheckName::KeepWarm), "{failed:?}");
    assert_eq!(shown.checks.len(), 6);
    assert!(shown.connections.unwrap().tcp.unwrap().used >= 1);
    assert_eq!(shown.audit, None);
}

/// A refresh must not make a busy key look unused.
#[tokio::test]
async fn counts_of_a_key_survive_its_refresh() {
    let broker = broker();
    broker.cache.get(lookup(HOST)).await.unwrap();
    broker.cache.get(lookup(HOST)).await.unwrap();
    broker.clock.advance(2 * HOUR);
    broker.cache.get(lookup(HOST)).await.unwrap();
    broker.source.until_calls(2).await;
    broker.cache.wait_for_fetches(HOUR).await;
    let shown = first_page(&mut local(&broker).await).await;
    let times = shown.keys[0].cached.as_ref().unwrap();
    assert_eq!((times.hits, seconds(times.remaining)), (2, 12 * 3600));
}

#[tokio::test]
async fn pages_are_sorted_filtered_and_bounded_for_ten_thousand_keys() {
    let broker = broker();
    for number in 0..10_000 {
        broker.cache.get(lookup(&host(number))).await.unwrap();
    }
    broker.cache.get(lookup("public.ecr.aws")).await.unwrap();
    for _ in 0..5 {
        broker.cache.get(lookup(&host(4_321))).await.unwrap();
    }
    let mut client = local(&broker).await;
    let first = first_page(&mut client).await;
    assert_eq!((first.keys.len(), first.cache.unwrap().matching > 9_000), (100, true), "{:?}", first.cache);
    let busiest = pb::GetStatusRequest { order: pb::KeyOrder::Hits.into(), page_size: 1, ..Default::default() };
    assert_eq!(status(&mut client, busiest).await.unwrap().keys[0].registry, host(4_321));

    let mut request = pb::GetStatusRequest {
        order: pb::KeyOrder::Registry.into(),
        region: "eu-central-1".into(),
        page_size: 99_999,
        ..Default::default()
    };
    let mut hosts = Vec::new();
    loop {
        let page = status(&mut client, request.clone()).await.unwrap();
        assert!(page.keys.len() <= 500 && page.keys.iter().all(|key| key.region == "eu-central-1"));
        hosts.extend(page.keys.into_iter().map(|key| key.registry));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert!(hosts.len() > 9_000 && hosts.is_sorted(), "{}", hosts.len());
    hosts.dedup();
    assert!(hosts.len() > 9_000);

    let one = pb::GetStatusRequest { account_id: format!("{:012}", 17), ..Default::default() };
    let keys = status(&mut client, one).await.unwrap().keys;
    assert!(keys.len() == 1 && keys[0].registry == host(17), "{keys:?}");
    let failing = pb::GetStatusRequest { failing: true, ..Default::default() };
    assert!(status(&mut client, failing).await.unwrap().keys.is_empty());
    for wrong in [
        pb::GetStatusRequest { page_token: "x".into(), ..Default::default() },
        pb::GetStatusRequest { region: "<script>".into(), ..Default::default() },
        pb::GetStatusRequest { order: 77, ..Default::default() },
    ] {
        let refused = status(&mut client, wrong).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
}
