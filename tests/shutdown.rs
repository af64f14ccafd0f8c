//! The way down (P9), and health.

#![cfg(all(feature = "server", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use std::time::Duration;

use ecr_broker::error::{FailureClass, UpstreamFailure};
use support::*;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

const SERVICE: &str = "ecrbroker.v1.RegistryCredentialsService";

#[tokio::test(flavor = "multi_thread")]
async fn p9_requests_in_flight_finish_and_nothing_new_is_accepted() {
    let broker = TestBroker::start();
    broker.source.shut();
    let mut client = broker.client().await;
    let in_flight = tokio::spawn(async move { client.get_registry_credentials(request(HOST)).await });
    broker.source.until_calls(1).await;

    let (source, tcp, socket) = (broker.source.clone(), broker.tcp, broker.socket.clone());
    let ended = tokio::spawn(broker.stop());
    while tokio::net::TcpStream::connect(tcp).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(tokio::net::UnixStream::connect(&socket).await.is_err());
    assert!(!ended.is_finished(), "it waits for what is in flight");
    source.open();
    in_flight.await.unwrap().unwrap();
    ended.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_past_the_drain_s_end_what_still_waits_is_told_so() {
    let broker = TestBroker::start_with(|settings| settings.drain_timeout = Duration::from_millis(100));
    broker.source.shut();
    let mut client = broker.client().await;
    let in_flight = tokio::spawn(async move { client.get_registry_credentials(request(HOST)).await });
    broker.source.until_calls(1).await;
    let source = broker.source.clone();
    let ended = tokio::spawn(broker.stop());
    let status = in_flight.await.unwrap().unwrap_err();
    let details = status.get_error_details();
    assert_eq!((status.code(), details.error_info().unwrap().reason.as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
    assert!(details.retry_info().is_some());
    source.open();
    ended.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_health_watch_hears_of_the_end_and_does_not_hold_it_up() {
    let broker = TestBroker::start();
    let mut health = HealthClient::new(broker.channel().await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let ended = tokio::spawn(broker.stop());
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("long before the drain's limit").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_hold_up_the_end() {
    let broker = TestBroker::start();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = broker.client().await;
        client.get_registry_credentials(request(HOST)).await.unwrap();
        clients.push(client);
    }
    tokio::time::timeout(Duration::from_secs(5), broker.stop()).await.expect("long before the drain's limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_never_began_do_not_hold_up_the_end() {
    let broker = TestBroker::start();
    let tcp = tokio::net::TcpStream::connect(broker.tcp).await.unwrap();
    let unix = tokio::net::UnixStream::connect(&broker.socket).await.unwrap();
    broker.client().await.get_registry_credentials(request(HOST)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), broker.stop()).await.expect("long before the drain's limit");
    drop((tcp, unix));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_not_serving_while_there_is_no_aws_identity_and_the_process_is() {
    let broker = TestBroker::start();
    let mut health = HealthClient::new(broker.channel().await);
    let missing = UpstreamFailure::new(FailureClass::NoCredentials);
    broker.source.identity(Err(missing.clone()));
    broker.source.fail(FailureClass::NoCredentials);
    broker.client().await.get_registry_credentials(request(HOST)).await.unwrap_err();
    let service = HealthCheckRequest { service: SERVICE.into() };
    let mut watch = health.watch(service).await.unwrap().into_inner();
    let mut until = async |wanted: ServingStatus| {
        let told = async { while watch.message().await.unwrap().unwrap().status() != wanted {} };
        tokio::time::timeout(Duration::from_mins(1), told).await.expect("a change");
    };
    until(ServingStatus::NotServing).await;
    let process = health.check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(process.status(), ServingStatus::Serving);
    broker.source.identity(Ok(()));
    until(ServingStatus::Serving).await;
}
