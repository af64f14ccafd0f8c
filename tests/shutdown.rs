//! Graceful shutdown (P9), connection age (P8) and health.

#![cfg(all(feature = "server", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod raw_frames;
mod support;

use std::time::Duration;

use ecr_broker::error::FailureClass;
use ecr_broker::source::SourceStatus;
use raw_frames::{DATA, END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, PING, Raw, call, message};
use support::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

const SERVICE: &str = "ecrbroker.v1.RegistryCredentialsService";

#[tokio::test(flavor = "multi_thread")]
async fn p9_requests_in_flight_finish_and_listeners_close() {
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
    assert!(!ended.is_finished(), "it waits for the call in flight");
    source.open();
    in_flight.await.unwrap().unwrap();
    ended.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_waiting_requests_get_shutting_down_after_the_drain_timeout() {
    let broker =
        TestBroker::start_with(|setup| setup.config.server.connections.drain_timeout = Duration::from_millis(100));
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
async fn p9_health_watch_reports_not_serving_and_ends_at_the_drain() {
    let broker = TestBroker::start();
    let mut health = HealthClient::new(broker.channel().await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let ended = tokio::spawn(broker.stop());
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("long before the drain timeout").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_delay_the_shutdown() {
    let broker = TestBroker::start();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = broker.client().await;
        client.get_registry_credentials(request(HOST)).await.unwrap();
        clients.push(client);
    }
    tokio::time::timeout(Duration::from_secs(5), broker.stop()).await.expect("long before the drain timeout");
}

/// hyper waits for the peer to acknowledge the GOAWAY.
#[tokio::test(flavor = "multi_thread")]
async fn silent_peers_do_not_delay_the_shutdown() {
    let broker = TestBroker::start();
    let tcp = Raw::open(&broker.tcp.to_string(), &[]).await;
    let unix = tokio::net::UnixStream::connect(&broker.socket).await.unwrap();
    let unix = Raw::open_over(unix, &[]).await;
    tokio::time::timeout(Duration::from_secs(10), broker.stop()).await.expect("long before the drain timeout");
    drop((tcp, unix));
}

/// A proxy that sends to a closed socket, such as a window update, loses the end of the last response.
#[tokio::test(flavor = "multi_thread")]
async fn p9_socket_stays_open_after_the_last_response_of_a_drain() {
    let broker = TestBroker::start();
    broker.source.shut();
    let mut raw = Raw::open(&broker.tcp.to_string(), &[]).await;
    raw.send(HEADERS, END_HEADERS, 1, &call(GET)).await.unwrap();
    raw.send(DATA, END_STREAM, 1, &message(&request(HOST))).await.unwrap();
    broker.source.until_calls(1).await;
    let source = broker.source.clone();
    let ended = tokio::spawn(broker.stop());
    while raw.read_and_answer().await.unwrap().kind != PING {}
    let answered = tokio::time::Instant::now();
    source.open();
    let (_, frames) = raw.until_cut(true).await;
    assert!(frames.iter().any(|frame| (frame.kind, frame.stream) == (HEADERS, 1) && frame.flags & END_STREAM != 0));
    ended.await.unwrap();
    assert!(answered.elapsed() >= Duration::from_millis(900), "{:?}", answered.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_a_preface_do_not_delay_the_shutdown() {
    let broker = TestBroker::start();
    let tcp = tokio::net::TcpStream::connect(broker.tcp).await.unwrap();
    let unix = tokio::net::UnixStream::connect(&broker.socket).await.unwrap();
    broker.client().await.get_registry_credentials(request(HOST)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), broker.stop()).await.expect("long before the drain timeout");
    drop((tcp, unix));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_without_an_aws_identity_is_not_serving_for_the_service_only() {
    let broker = TestBroker::start();
    let mut health = HealthClient::new(broker.channel().await);
    broker.source.set_status(SourceStatus::NoCredentials);
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
    broker.source.set_status(SourceStatus::Ready);
    until(ServingStatus::Serving).await;
}

/// Reads a frame and returns its type and flags; none at the end of the connection. Acknowledges a PING.
async fn frame(stream: &mut tokio::net::TcpStream) -> Option<(u8, u8)> {
    let mut header = [0; 9];
    stream.read_exact(&mut header).await.ok()?;
    let [_, high, low, kind, flags, ..] = header;
    let mut body = vec![0; usize::from(high) << 8 | usize::from(low)];
    stream.read_exact(&mut body).await.unwrap();
    if (kind, flags) == (PING, 0) {
        let answer = [&[0, 0, 8, PING, 1, 0, 0, 0, 0], body.as_slice()].concat();
        stream.write_all(&answer).await.unwrap();
    }
    Some((kind, flags))
}

#[tokio::test]
async fn p8_connection_at_its_maximum_age_gets_goaway_and_ends() {
    let broker =
        TestBroker::start_with(|setup| setup.config.server.connections.max_connection_age = Duration::from_millis(50));
    let mut stream = tokio::net::TcpStream::connect(broker.tcp).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut kinds = Vec::new();
    while let Some((kind, _)) = frame(&mut stream).await {
        kinds.push(kind);
    }
    assert_eq!(kinds.last(), Some(&GOAWAY), "{kinds:?}");
    broker.stop().await;
}

/// A call that meets the end of its connection was not sent: tonic reports CANCELLED, and a retry has a new connection. No call that
/// reached the broker is lost.
#[tokio::test]
async fn p8_no_call_is_lost_when_connections_reach_their_maximum_age() {
    let broker =
        TestBroker::start_with(|setup| setup.config.server.connections.max_connection_age = Duration::from_millis(20));
    let mut client = broker.client().await;
    let mut calls = 0;
    let start = tokio::time::Instant::now();
    while start.elapsed() < Duration::from_millis(500) {
        let mut answer = client.get_registry_credentials(request(HOST)).await;
        if answer.as_ref().is_err_and(|status| status.code() == Code::Cancelled) {
            answer = client.get_registry_credentials(request(HOST)).await;
        }
        answer.unwrap_or_else(|error| panic!("call {calls}: {error}"));
        calls += 1;
    }
    assert!(calls > 10, "{calls}");
    broker.stop().await;
}
