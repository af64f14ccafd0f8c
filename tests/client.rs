//! The client: what it tries again, and what it does not.

#![cfg(all(feature = "server", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use std::time::Duration;

use ecr_broker::client::{Client, Failure, PartialConfig, Paths, Query, RegistryCredentials, Settings};
use ecr_broker::error::{FailureClass, UpstreamError};
use support::*;
use tokio::time::Instant;

fn settings(addresses: &[String]) -> Settings {
    let address = Some(addresses.join(",").parse().unwrap());
    let given = PartialConfig { address, timeout: Some(Duration::from_secs(5)), ..PartialConfig::default() };
    given.settings(&Paths::default()).unwrap().0
}

fn of(broker: &TestBroker) -> Settings {
    settings(&[format!("http://{}", broker.tcp)])
}

fn query(registry: &str) -> Query {
    Query { registry: registry.to_owned(), ..Query::default() }
}

async fn get(client: &mut Client<'_>, hosts: &[&str]) -> Vec<Result<RegistryCredentials, Failure>> {
    client.credentials(&hosts.iter().map(|host| query(host)).collect::<Vec<_>>()).await.unwrap()
}

/// AWS heals once it has been called so often.
fn heal_after(broker: &TestBroker, calls: u64) -> tokio::task::JoinHandle<()> {
    let (source, clock) = (broker.source.clone(), broker.clock.clone());
    tokio::spawn(async move {
        source.until_calls(calls).await;
        source.then(Step::Token(12 * HOUR));
        clock.advance(MINUTE);
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_work_later_is_asked_for_again_and_the_rest_of_a_batch_is_not() {
    let broker = TestBroker::start();
    let settings = of(&broker);
    let mut client = Client::connect(&settings).await.unwrap();
    get(&mut client, &[&host(1)]).await.remove(0).unwrap();
    broker.source.fail(FailureClass::Unavailable);
    let healed = heal_after(&broker, 2);
    let mut answers = get(&mut client, &[&host(1), &host(2), "ghcr.io"]).await;
    healed.await.unwrap();
    assert_eq!(answers.remove(2).unwrap_err().reason.as_deref(), Some("REGISTRY_NOT_ECR"));
    assert_eq!(answers.remove(1).unwrap().registry, host(2));
    assert_eq!(answers.remove(0).unwrap().registry, host(1));
    assert_eq!(broker.source.calls(), 3, "one, one that failed, and one more");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_and_what_takes_longer_than_there_is_time_is_not_asked_for_again() {
    let broker = TestBroker::start();
    let settings = of(&broker);
    let later =
        UpstreamError { retry_after: Some(Duration::from_mins(1)), ..UpstreamError::aws(FailureClass::Throttled) };
    for (step, reason) in [
        (Step::Fail(UpstreamError::aws(FailureClass::Denied)), "AWS_ACCESS_DENIED"),
        (Step::Fail(later), "AWS_THROTTLED"),
    ] {
        broker.source.then(step);
        let began = Instant::now();
        let mut client = Client::connect(&settings).await.unwrap();
        let failure = get(&mut client, &[&host(reason.len())]).await.remove(0).unwrap_err();
        assert_eq!(failure.reason.as_deref(), Some(reason));
        assert!(began.elapsed() < Duration::from_secs(4), "{reason}: {:?}", began.elapsed());
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_is_lost_when_its_connection_comes_to_its_age() {
    let broker =
        TestBroker::start_with(|setup| setup.config.server.connections.max_connection_age = Duration::from_millis(20));
    let settings = of(&broker);
    let mut client = Client::connect(&settings).await.unwrap();
    let (began, mut calls) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_millis(500) {
        get(&mut client, &[HOST]).await.remove(0).unwrap_or_else(|failure| panic!("call {calls}: {failure}"));
        calls += 1;
    }
    assert!(calls > 10, "{calls}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_its_broker_goes_the_next_address_is_asked() {
    let (first, second) = (TestBroker::start(), TestBroker::start());
    let settings = settings(&[format!("http://{}", first.tcp), format!("unix:{}", second.socket.display())]);
    let mut client = Client::connect(&settings).await.unwrap();
    get(&mut client, &[HOST]).await.remove(0).unwrap();
    let calls = first.source.clone();
    assert_eq!((calls.calls(), second.source.calls()), (1, 0));
    first.stop().await;
    get(&mut client, &[HOST]).await.remove(0).unwrap();
    assert_eq!(second.source.calls(), 1);
    second.stop().await;
}
