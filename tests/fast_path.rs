//! Repeated cache hits of two brokers, one with the fast path and one without, as a client of HTTP/2 sees them.

#![cfg(all(feature = "server", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use bytes::Bytes;
use ecr_broker::audit::Output;
use ecr_broker::metrics::Format;
use ecr_broker::pb;
use ecr_broker::policy::{CallerPattern, Effect, Grant, Policy, RegistryPattern};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use serde_json::Value;
use support::*;
use tokio::net::{TcpStream, UnixStream};

const ALIAS: &str = "images.example";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A broker with one client over loopback and one on its Unix socket.
struct Side {
    broker: TestBroker,
    clients: [SendRequest<Full<Bytes>>; 2],
}

/// A response as it was sent: its headers, its message without `refresh_after`, which is random, and its trailers.
#[derive(Debug, PartialEq)]
struct Response {
    headers: HeaderMap,
    message: Option<pb::RegistryCredentials>,
    trailers: Option<HeaderMap>,
}

impl Side {
    async fn start(fast_path: bool, policy: Policy, audit: Option<&Path>) -> Self {
        let output = audit.map(|file| Output::File(file.to_owned()));
        let broker = TestBroker::start_as(policy, output.as_ref(), |setup| {
            setup.config.server.fast_path = fast_path;
            setup.config.aliases.add(ALIAS, HOST.parse().unwrap()).unwrap();
        });
        let tcp = TokioIo::new(TcpStream::connect(broker.tcp).await.unwrap());
        let (over_tcp, connection) = handshake(TokioExecutor::new(), tcp).await.unwrap();
        tokio::spawn(connection);
        let unix = TokioIo::new(UnixStream::connect(&broker.socket).await.unwrap());
        let (over_unix, connection) = handshake(TokioExecutor::new(), unix).await.unwrap();
        tokio::spawn(connection);
        Self { broker, clients: [over_tcp, over_unix] }
    }

    /// Sends one request to each of the broker's sockets.
    async fn send(&mut self, message: &Bytes, fields: &[(&str, &str)]) -> Vec<Response> {
        let mut responses = Vec::new();
        for client in &mut self.clients {
            client.ready().await.unwrap();
            let path = "http://broker/ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials";
            let mut request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let response = client.send_request(request.body(Full::new(message.clone())).unwrap()).await.unwrap();
            let (head, body) = response.into_parts();
            let body = body.collect().await.unwrap();
            let (trailers, mut headers) = (body.trailers().cloned(), head.headers);
            headers.remove("date");
            responses.push(Response { headers, message: credentials(&body.to_bytes()), trailers });
        }
        responses
    }

    /// Returns the broker's own metrics without those of its machine's time.
    fn metrics(&self) -> Vec<String> {
        let text = self.broker.exposition.encode(Format::Prometheus);
        let is_equal = |line: &&str| {
            let is_time = line.contains("duration_seconds_sum") || line.contains("duration_seconds_bucket");
            let is_machine = line.starts_with("process_") || line.starts_with("tokio_");
            !is_time && !is_machine && !line.starts_with("ecr_broker_config_last_reload_timestamp")
        };
        text.lines().filter(is_equal).map(str::to_owned).collect()
    }
}

/// Returns the credentials of a message with gRPC's prefix; none without a message.
fn credentials(bytes: &[u8]) -> Option<pb::RegistryCredentials> {
    let (prefix, message) = bytes.split_at_checked(5)?;
    assert_eq!(prefix, [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes()].concat());
    let credentials = pb::GetRegistryCredentialsResponse::decode(message).unwrap().credentials.unwrap();
    assert!(credentials.refresh_after.is_some());
    Some(pb::RegistryCredentials { refresh_after: None, ..credentials })
}

fn message(registry: &str) -> Bytes {
    let bytes = request(registry).encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0], &length[..], &bytes].concat().into()
}

/// Grants everything to loopback and to this user.
fn grants(directory: &Path) -> Policy {
    let own = fs::metadata(directory).unwrap().uid();
    Policy::Grants(vec![Grant {
        id: "all".into(),
        callers: vec![CallerPattern::Loopback, CallerPattern::Uid(own)],
        registries: vec![RegistryPattern::every_private(), RegistryPattern::Public],
        profile: None,
        effect: Effect::Allow,
        max_lifetime: None,
    }])
}

/// Returns the records without their IDs, which are 32 hexadecimal digits.
fn records(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    let record = |line| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record.as_object_mut().unwrap().remove("request_id").unwrap().as_str().unwrap().len(), 32);
        record
    };
    text.lines().map(record).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_hits_are_equal_with_and_without_the_fast_path() {
    let directory = tempfile::tempdir().unwrap();
    let files = ["fast", "ordinary"].map(|name| directory.path().join(name));
    let mut fast = Side::start(true, grants(directory.path()), Some(&files[0])).await;
    let mut ordinary = Side::start(false, grants(directory.path()), Some(&files[1])).await;
    let messages = [HOST, ALIAS, "public.ecr.aws", "210987654321.dkr.ecr.eu-west-1.amazonaws.com"].map(message);
    for round in 0..5 {
        for message in &messages {
            let traced = [("traceparent", TRACEPARENT), ("tracestate", "a=b")];
            for fields in [&[][..], &[("grpc-timeout", "20S"), ("x-forwarded-for", "192.0.2.7")], &traced] {
                let (one, other) = (fast.send(message, fields).await, ordinary.send(message, fields).await);
                assert_eq!(one, other, "round {round}");
                assert_eq!(one[0].trailers.as_ref().unwrap()["grpc-status"], "0");
            }
        }
        for side in [&fast, &ordinary] {
            side.broker.clock.advance(MINUTE + std::time::Duration::from_nanos(round));
        }
    }
    assert_eq!(records(&files[0]), records(&files[1]));
    assert_eq!(fast.metrics(), ordinary.metrics());
    assert_eq!(fast.broker.source.calls(), ordinary.broker.source.calls());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_failing_audit_log_refuses_alike_with_and_without_the_fast_path() {
    let directory = tempfile::tempdir().unwrap();
    let mut statuses = Vec::new();
    for fast_path in [true, false] {
        let file = directory.path().join(fast_path.to_string());
        let mut side = Side::start(fast_path, Policy::Open, Some(&file)).await;
        for _ in 0..3 {
            side.send(&message(HOST), &[]).await;
        }
        put_directory_at(&file);
        // The file is looked for at most every 100 ms.
        side.broker.clock.advance(MINUTE);
        let mut responses = side.send(&message(HOST), &[]).await;
        for response in &mut responses {
            response.headers.remove("grpc-status-details-bin").unwrap();
        }
        assert_eq!(responses[0].headers["grpc-status"], "14");
        fs::remove_dir(&file).unwrap();
        let released = side.send(&message(HOST), &[]).await;
        assert_eq!(released[1].trailers.as_ref().unwrap()["grpc-status"], "0", "records are written again");
        statuses.push((responses, side.metrics()));
    }
    assert_eq!(statuses[0], statuses[1]);
}
