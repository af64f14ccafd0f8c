//! Retry, reconnect and failover of the client.

#![cfg(all(feature = "server", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use std::time::Duration;

use ecr_broker::client::{Client, Failure, PartialConfig, Paths, Query, RegistryCredentials, Settings};
use ecr_broker::error::{FailureClass, UpstreamError};
use support::*;
use tokio::time::Instant;

fn settings_for(addresses: &[String]) -> Settings {
    let address = Some(addresses.join(",").parse().unwrap());
    let config = PartialConfig { address, timeout: Some(Duration::from_secs(5)), ..PartialConfig::default() };
    config.settings(&Paths::default()).unwrap().0
}

fn settings_of(broker: &TestBroker) -> Settings {
    settings_for(&[format!("http://{}", broker.tcp)])
}

fn query(registry: &str) -> Query {
    Query { registry: registry.to_owned(), ..Query::default() }
}

async fn get(client: &mut Client<'_>, hosts: &[&str]) -> Vec<Result<RegistryCredentials, Failure>> {
    client.credentials(&hosts.iter().map(|host| query(host)).collect::<Vec<_>>()).await.unwrap()
}

/// Lets AWS succeed after this many calls. The backoff of the last one's failure begins before the clock moves, which ends it.
fn recover_after(broker: &TestBroker, calls: u64) -> tokio::task::JoinHandle<()> {
    let (source, clock, cache) = (broker.source.clone(), broker.clock.clone(), broker.cache.clone());
    tokio::spawn(async move {
        source.until_calls(calls).await;
        source.then(Step::Token(12 * HOUR));
        while cache.waiting() > 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(MINUTE);
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_retry_repeats_only_transient_failures() {
    let broker = TestBroker::start();
    let settings = settings_of(&broker);
    let mut client = Client::connect(&settings).await.unwrap();
    get(&mut client, &[&host(1)]).await.remove(0).unwrap();
    broker.source.fail(FailureClass::Unavailable);
    let recovered = recover_after(&broker, 2);
    let mut answers = get(&mut client, &[&host(1), &host(2), "ghcr.io"]).await;
    recovered.await.unwrap();
    assert_eq!(answers.remove(2).unwrap_err().reason.as_deref(), Some("REGISTRY_NOT_ECR"));
    assert_eq!(answers.remove(1).unwrap().registry, host(2));
    assert_eq!(answers.remove(0).unwrap().registry, host(1));
    assert_eq!(broker.source.calls(), 3, "one success, one failure and its retry");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_one_registry_are_retried() {
    let broker = TestBroker::start();
    let settings = Settings::for_addresses(&format!("http://{}", broker.tcp)).unwrap();
    let mut client = Client::connect(&settings).await.unwrap();
    broker.source.fail(FailureClass::Unavailable);
    let recovered = recover_after(&broker, 1);
    assert_eq!(client.credentials_of(HOST).await.unwrap().registry, HOST);
    recovered.await.unwrap();
    let refused = client.credentials_of("ghcr.io").await.unwrap_err();
    assert_eq!(refused.reason.as_deref(), Some("REGISTRY_NOT_ECR"));
    assert_eq!(broker.source.calls(), 2, "a failure and its retry");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn denials_and_waits_beyond_the_deadline_are_not_retried() {
    let broker = TestBroker::start();
    let settings = settings_of(&broker);
    let later =
        UpstreamError { retry_after: Some(Duration::from_mins(1)), ..UpstreamError::aws(FailureClass::Throttled) };
    for (step, reason) in [
        (Step::Fail(UpstreamError::aws(FailureClass::Denied)), "AWS_ACCESS_DENIED"),
        (Step::Fail(later), "AWS_THROTTLED"),
    ] {
        broker.source.then(step);
        let start = Instant::now();
        let mut client = Client::connect(&settings).await.unwrap();
        let failure = get(&mut client, &[&host(reason.len())]).await.remove(0).unwrap_err();
        assert_eq!(failure.reason.as_deref(), Some(reason));
        assert!(start.elapsed() < Duration::from_secs(4), "{reason}: {:?}", start.elapsed());
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_age_limit_loses_no_call() {
    let broker =
        TestBroker::start_with(|setup| setup.config.server.connections.max_connection_age = Duration::from_millis(20));
    let settings = settings_of(&broker);
    let mut client = Client::connect(&settings).await.unwrap();
    let (start, mut calls) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_millis(500) {
        get(&mut client, &[HOST]).await.remove(0).unwrap_or_else(|failure| panic!("call {calls}: {failure}"));
        calls += 1;
    }
    assert!(calls > 10, "{calls}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_fails_over_to_the_next_address() {
    let (first, second) = (TestBroker::start(), TestBroker::start());
    let settings = settings_for(&[format!("http://{}", first.tcp), format!("unix:{}", second.socket.display())]);
    let mut client = Client::connect(&settings).await.unwrap();
    get(&mut client, &[HOST]).await.remove(0).unwrap();
    let calls = first.source.clone();
    assert_eq!((calls.calls(), second.source.calls()), (1, 0));
    first.stop().await;
    get(&mut client, &[HOST]).await.remove(0).unwrap();
    assert_eq!(second.source.calls(), 1);
    second.stop().await;
}
