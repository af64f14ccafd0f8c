//! Coalescing over real gRPC: many callers, some of which give up, cause few AWS calls.

#![cfg(all(feature = "server", feature = "client"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod support;

use std::time::Duration;

use ecr_broker::pb;
use ecr_broker::policy::Policy;
use support::*;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tonic::Code;

/// A call every 10 ms for a second, each with a deadline of 30 ms, over a source that takes 200 ms. With the fetch in the first
/// caller's handler, no caller was served and AWS was called 99 times (measured before the single flight was built).
#[tokio::test(flavor = "multi_thread")]
async fn callers_with_deadlines_shorter_than_the_fetch_cause_one_call() {
    let broker = TestBroker::start();
    broker.source.delay(Duration::from_millis(200));
    let channel = broker.channel().await;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let mut callers = Vec::new();
    for _ in 0..100 {
        tick.tick().await;
        let mut client = Client::new(channel.clone());
        callers.push(tokio::spawn(async move {
            let mut request = tonic::Request::new(request(HOST));
            request.set_timeout(Duration::from_millis(30));
            client.get_registry_credentials(request).await
        }));
    }
    let mut served = 0;
    for caller in callers {
        match caller.await.unwrap() {
            Ok(_) => served += 1,
            Err(status) => assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}"),
        }
    }
    println!("{served} of 100 callers served, {} AWS calls", broker.source.calls());
    assert_eq!(broker.source.calls(), 1);
    // The callers after the fetch; about 80 on an idle machine.
    assert!(served > 0);
}

/// Starts 100 callers over each of 100 connections; caller `number` of a connection asks for `host(number)`.
///
/// Every tenth connection is answered once before the next one opens: a burst of 10,000 messages takes a loaded machine longer than a
/// message may take.
async fn ten_thousand_callers(broker: &TestBroker, host: impl Fn(usize) -> String) -> Vec<JoinHandle<()>> {
    let mut callers = Vec::new();
    for connection in 0..100 {
        let mut client = broker.client().await;
        for number in 0..100 {
            let (mut client, request) = (client.clone(), request(&host(number)));
            callers.push(tokio::spawn(async move {
                client.get_registry_credentials(request).await.unwrap();
            }));
        }
        if connection % 10 == 9 {
            client.get_caller_identity(pb::GetCallerIdentityRequest {}).await.unwrap();
        }
    }
    callers
}

/// Starts a broker whose source takes no call to an end yet, and does not time out before its callers do.
fn broker_of_a_shut_source() -> TestBroker {
    let cache = TestCache::new();
    cache.source.set_fetch_budget(Duration::from_mins(1));
    cache.source.shut();
    TestBroker::start_on(cache, Policy::Open, None, |_| ())
}

/// Both tests need the whole machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_callers_over_a_hundred_connections_cause_one_call() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let broker = broker_of_a_shut_source();
    let callers = ten_thousand_callers(&broker, |_| HOST.to_owned()).await;
    broker.source.until_calls(1).await;
    broker.source.open();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(broker.source.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn hundred_keys_with_a_hundred_callers_each_cause_a_hundred_calls() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let broker = broker_of_a_shut_source();
    let callers = ten_thousand_callers(&broker, host).await;
    broker.source.until_calls(100).await;
    broker.source.open();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!((broker.source.calls(), broker.source.most_in_flight()), (100, 1));
    assert!(broker.source.calls_by_key().values().all(|calls| *calls == 1));
}
