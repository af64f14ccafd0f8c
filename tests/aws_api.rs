//! The ECR API: `GetAuthorizationToken` in AWS's form, from the broker's cache, for callers with the secret.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;
mod support;

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use ecr_broker::audit::Output;
use ecr_broker::caller::Caller;
use ecr_broker::error::FailureClass;
use ecr_broker::limits::{Attempt, Limits, Origin};
use ecr_broker::policy::{Accounts, CallerPattern, Effect, Grant, Policy, RegistryPattern};
use futures_util::future::join_all;
use program::{Ended, SERVE_SIMULATED, Server, run};
use serde_json::{Value, json};
use support::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const SECRET: &str = AWS_API_SECRET;
const PRIVATE: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
const PUBLIC: &str = "SpencerFrontendService.GetAuthorizationToken";
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// Limit for a slow peer to be disconnected, on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// A response.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HashMap<String, String>,
    body: Value,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no reply: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let headers = lines.filter_map(header).collect();
        Self { status, headers, body: serde_json::from_str(body).unwrap_or_default() }
    }

    /// Returns status and code, by which an SDK knows the error.
    fn error(&self) -> (u16, &str) {
        let code = self.body["__type"].as_str().unwrap_or_default();
        assert_eq!(self.headers.get("x-amzn-errortype").map_or("", String::as_str), code);
        (self.status, code)
    }

    fn message(&self) -> &str {
        self.body["message"].as_str().unwrap()
    }

    fn id(&self) -> &str {
        &self.headers["x-amzn-requestid"]
    }

    fn data(&self) -> &Value {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/x-amz-json-1.1");
        &self.body["authorizationData"]
    }
}

/// A request as SDKs send it.
struct Call<'a> {
    method: &'a str,
    path: String,
    headers: Vec<(&'a str, String)>,
    body: String,
}

impl<'a> Call<'a> {
    fn new(target: &str, body: &Value) -> Self {
        let headers =
            vec![("content-type", "application/x-amz-json-1.1".to_owned()), ("x-amz-target", target.to_owned())];
        Self { method: "POST", path: format!("/t/{SECRET}"), headers, body: body.to_string() }
    }

    fn private() -> Self {
        Self::new(PRIVATE, &json!({}))
    }

    fn of(accounts: &[&str]) -> Self {
        Self::new(PRIVATE, &json!({ "registryIds": accounts }))
    }

    fn public() -> Self {
        Self::new(PUBLIC, &json!({}))
    }

    fn method(self, method: &'a str) -> Self {
        Self { method, ..self }
    }

    fn path(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    fn body(self, body: &str) -> Self {
        Self { body: body.to_owned(), ..self }
    }

    /// Replaces a header of this name.
    fn header(mut self, name: &'a str, value: &str) -> Self {
        self.headers.retain(|(own, _)| *own != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Signs for a region, with keys that the broker does not know.
    fn signed_for(self, region: &str, service: &str) -> Self {
        let scope = format!("Credential=AKIAEXAMPLE/20261125/{region}/{service}/aws4_request");
        self.header("authorization", &format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0123"))
    }

    fn bytes(&self) -> Vec<u8> {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let (headers, Self { method, path, body, .. }) = (headers.concat(), self);
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
            .into_bytes()
    }

    async fn send(self, to: SocketAddr) -> Reply {
        let mut stream = TcpStream::connect(to).await.unwrap();
        let bytes = self.header("connection", "close").bytes();
        // A request that is rejected by its headers may be answered before the body is sent.
        _ = stream.write_all(&bytes).await;
        Reply::parse(&rest(&mut stream).await)
    }
}

/// Reads until the end.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    _ = timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("an end");
    bytes
}

fn write_secret(directory: &Path, secret: &str) -> std::path::PathBuf {
    let file = directory.join("aws-api-secret");
    fs::write(&file, secret).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file
}

/// A broker, and the address of its ECR API.
fn broker() -> (TestBroker, SocketAddr) {
    let broker = TestBroker::start();
    let at = broker.aws_api;
    (broker, at)
}

fn password(authorization: &Value) -> String {
    let token = BASE64.decode(authorization["authorizationToken"].as_str().unwrap().as_bytes()).unwrap();
    String::from_utf8(token).unwrap().strip_prefix("AWS:").unwrap().to_owned()
}

#[tokio::test]
async fn token_response_has_the_form_of_aws() {
    let (broker, at) = broker();
    let reply = Call::private().send(at).await;
    let [token] = reply.data().as_array().unwrap().as_slice() else { panic!("{reply:?}") };
    // The account is the one that AWS named. The expiry is AWS's: 1,800,000,000 and twelve hours.
    assert_eq!(token["proxyEndpoint"], "https://999999999999.dkr.ecr.eu-central-1.amazonaws.com");
    assert_eq!(token["expiresAt"].as_f64(), Some(1_800_043_200.0));
    assert_eq!(password(token), "password-1");
    assert_eq!(reply.id().len(), 32);

    let reply = Call::public().signed_for("us-east-1", "ecr-public").send(at).await;
    let token = reply.data();
    assert_eq!((password(token).as_str(), token.get("proxyEndpoint")), ("password-2", None));
    assert_eq!(token["expiresAt"].as_f64(), Some(1_800_043_200.0));
    drop(broker);
}

#[tokio::test]
async fn tokens_are_for_the_region_of_the_signature() {
    let (broker, at) = broker();
    let reply = Call::of(&["111111111111", "222222222222"]).signed_for("cn-north-1", "ecr").send(at).await;
    let tokens = reply.data().as_array().unwrap();
    let hosts: Vec<_> = tokens.iter().map(|token| token["proxyEndpoint"].as_str().unwrap()).collect();
    assert_eq!(
        hosts,
        [
            "https://111111111111.dkr.ecr.cn-north-1.amazonaws.com.cn",
            "https://222222222222.dkr.ecr.cn-north-1.amazonaws.com.cn"
        ]
    );
    assert_ne!(password(&tokens[0]), password(&tokens[1]));
    // Unsigned, as with --no-sign-request: the broker's own region.
    let unsigned = Call::of(&["111111111111"]).send(at).await;
    assert_eq!(unsigned.data()[0]["proxyEndpoint"], "https://111111111111.dkr.ecr.eu-central-1.amazonaws.com");
    assert_eq!(broker.source.calls(), 3);

    let eleven = ["111111111111"; 11];
    for ids in [&eleven[..], &[], &["1"], &["11111111111x"]] {
        assert_eq!(Call::of(ids).send(at).await.error(), (400, "InvalidParameterException"), "{ids:?}");
    }
    for (region, code) in [("mars-1", "InvalidSignatureException"), ("eu/west", "IncompleteSignatureException")] {
        assert_eq!(Call::private().signed_for(region, "ecr").send(at).await.error(), (403, code), "{region}");
    }
    let reply = Call::private().signed_for("aa-aab-1", "ecr").send(at).await;
    assert_eq!(reply.error(), (400, "InvalidParameterException"));
    assert!(reply.message().contains("aa-aab-1") && reply.message().contains("aws.regions"), "{reply:?}");
    let long = Call::private().signed_for(&format!("aa-{}-1", "b".repeat(8_000)), "ecr").send(at).await;
    assert_eq!(long.error(), (403, "InvalidSignatureException"));
    assert!(long.message().len() < 200, "{long:?}");
    assert_eq!(broker.source.calls(), 3, "invalid requests do not reach AWS");
}

#[tokio::test]
async fn wrong_secret_is_rejected_and_failures_lock_out_no_valid_caller() {
    let one = NonZeroU32::new(1).unwrap();
    let broker = TestBroker::start_with(|setup| setup.config.limits.failures_per_second = one);
    let at = broker.aws_api;
    let (longer, shorter) = (format!("/t/{SECRET}x"), format!("/t/{}", &SECRET[1..]));
    let (deeper, elsewhere) = (format!("/t/{SECRET}/x"), format!("/{SECRET}"));
    for path in ["/", "/t/", "/t", &longer, &shorter, &deeper, &elsewhere, "/t/%30"] {
        let reply = Call::private().path(path).send(at).await;
        assert_eq!(reply.error(), (403, "AccessDeniedException"), "{path}");
        assert!(reply.message().contains("AWS_ENDPOINT_URL_ECR") && reply.message().contains(reply.id()), "{reply:?}");
    }
    for path in [format!("/t/{SECRET}"), format!("/t/{SECRET}/"), format!("/t/{SECRET}?x=y")] {
        Call::private().path(&path).send(at).await.data();
    }
    // The ninth and the tenth failure use up the burst. Each later one needs a second.
    for method in ["GET", "DELETE"] {
        assert_eq!(Call::private().method(method).path("/").send(at).await.error().0, 403, "{method}");
    }
    let wrong = || Call::private().path("/");
    let throttled = wrong().send(at).await;
    assert_eq!(throttled.error(), (400, "ThrottlingException"));
    assert!(throttled.headers["x-amz-retry-after"].parse::<u64>().unwrap() >= 1000, "{throttled:?}");
    // Callers with the secret are served meanwhile, and tokens and handshakes from the same address are verified.
    Call::private().send(at).await.data();
    broker.limits.check_origin(Origin::of(at.ip()), Attempt::Token).unwrap();
    broker.clock.advance(Duration::from_secs(3));
    assert_eq!(wrong().send(at).await.error().0, 403);
    assert_eq!(broker.source.calls(), 1);
}

#[tokio::test]
async fn unsupported_operation_error_says_how_to_call_aws() {
    let (broker, at) = broker();
    let describe = "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories";
    for call in [
        Call::new(describe, &json!({})),
        Call::new(&PRIVATE.to_lowercase(), &json!({})),
        Call::private().method("GET"),
        Call::private().method("OPTIONS"),
        Call::private().header("content-type", "text/plain"),
        Call::private().header("x-amz-target", ""),
    ] {
        let reply = call.send(at).await;
        assert_eq!(reply.error(), (400, "UnknownOperationException"), "{reply:?}");
        assert!(reply.message().contains("unset AWS_ENDPOINT_URL_ECR"), "{reply:?}");
    }
    assert!(Call::new(describe, &json!({})).send(at).await.message().contains("DescribeRepositories"));
    for (call, error) in [
        (Call::private().body("{"), (400, "SerializationException")),
        (
            Call::private().body(&json!({ "registryIds": "x".repeat(60_000) }).to_string()),
            (400, "SerializationException"),
        ),
        (Call::private().body(&" ".repeat(64 * 1024 + 1)), (413, "RequestEntityTooLargeException")),
        (Call::private().header("user-agent", "aws-sdk-rust/1 app/ecr-broker"), (400, "AccessDeniedException")),
    ] {
        let reply = call.send(at).await;
        assert_eq!(reply.error(), error);
        assert!(reply.message().len() < 200, "{reply:?}");
    }
    assert_eq!(Call::private().header("x", &"x".repeat(128 * 1024)).send(at).await.status, 431);
    Call::private().body("").send(at).await.data();
    assert_eq!(broker.source.calls(), 1);
}

#[tokio::test]
async fn aws_api_grant_is_enforced_and_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let granted = Grant {
        id: "scripts".into(),
        callers: vec![CallerPattern::AwsApi],
        registries: vec![RegistryPattern::Private {
            accounts: Accounts::Of(vec!["111111111111".parse().unwrap()]),
            regions: vec!["eu-*".parse().unwrap()],
        }],
        profile: Some("default".into()),
        effect: Effect::Allow,
    };
    let output = Output::File(file.clone());
    let broker = TestBroker::start_as(Policy::Grants(vec![granted]), Some(&output), |_| ());
    let at = broker.aws_api;
    let last = || {
        let text = fs::read_to_string(&file).unwrap();
        serde_json::from_str::<Value>(text.lines().last().unwrap()).unwrap()
    };
    let reply = Call::of(&["111111111111"]).send(at).await;
    let (token, record) = (password(&reply.data()[0]), last());
    let proof = "secret of the broker's AWS API, from the broker's host; the process is unknown";
    for (field, value) in [
        ("outcome", "released"),
        ("caller", "aws-api"),
        ("proof", proof),
        ("grant", "scripts"),
        ("registry", "111111111111.dkr.ecr.eu-central-1.amazonaws.com"),
        ("request_id", reply.id()),
    ] {
        assert_eq!(record[field], value, "{field}");
    }
    // A request without an account is denied: its account is unknown before AWS is called.
    let in_us = Call::of(&["111111111111"]).signed_for("us-east-1", "ecr");
    let mut id = String::new();
    for call in [
        Call::of(&["222222222222"]),
        Call::of(&["111111111111", "222222222222"]),
        in_us,
        Call::private(),
        Call::public(),
    ] {
        let reply = call.send(at).await;
        assert_eq!(reply.error(), (400, "AccessDeniedException"), "{reply:?}");
        assert!(reply.message().contains(reply.id()), "{reply:?}");
        assert!(!reply.body.to_string().contains("authorizationToken"));
        reply.id().clone_into(&mut id);
    }
    let record = last();
    for (field, value) in [
        ("outcome", "denied"),
        ("caller", "aws-api"),
        ("proof", proof),
        ("request_id", &id),
        ("registry", "public.ecr.aws"),
    ] {
        assert_eq!(record[field], value, "{field}");
    }
    assert_eq!(broker.source.calls(), 1);
    let audit = fs::read_to_string(&file).unwrap();
    assert!(!audit.contains(&token) && !audit.contains(SECRET));
}

/// The gRPC port on loopback needs no secret.
#[tokio::test]
async fn loopback_and_aws_api_grants_are_separate() {
    for (pattern, over_grpc) in [(CallerPattern::Loopback, true), (CallerPattern::AwsApi, false)] {
        let everything = Grant {
            id: "one".into(),
            callers: vec![pattern],
            registries: vec![RegistryPattern::Private { accounts: Accounts::Any, regions: vec!["*".parse().unwrap()] }],
            profile: None,
            effect: Effect::Allow,
        };
        let broker = TestBroker::start_as(Policy::Grants(vec![everything]), None, |_| ());
        let reply = Call::of(&["123456789012"]).send(broker.aws_api).await;
        let called = broker.client().await.get_registry_credentials(request(HOST)).await;
        if over_grpc {
            assert_eq!(reply.error(), (400, "AccessDeniedException"));
            called.unwrap();
        } else {
            reply.data();
            assert_eq!(called.unwrap_err().code(), tonic::Code::PermissionDenied);
        }
    }
}

#[tokio::test]
async fn wrong_secrets_are_audited_once_and_then_counted() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let broker = TestBroker::start_as(Policy::Open, Some(&Output::File(file.clone())), |_| ());
    for _ in 0..5 {
        assert_eq!(Call::private().path("/t/canary").send(broker.aws_api).await.error().0, 403);
    }
    broker.stop().await;
    let text = fs::read_to_string(&file).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.len() == 2 && !text.contains("canary"), "{text}");
    for record in &records {
        assert_eq!((&record["outcome"], &record["origin"]), (&"unauthenticated".into(), &"aws-api".into()), "{record}");
        assert_eq!((&record["proof"], &record["reason"]), (&"secret".into(), &"no valid secret in the path".into()));
    }
    assert_eq!((records[0].get("count"), &records[1]["count"]), (None, &4.into()));
}

#[tokio::test]
async fn p11_aws_api_releases_nothing_without_a_record() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let broker = TestBroker::start_as(Policy::Open, Some(&Output::File(file.clone())), |_| ());
    put_directory_at(&file);
    let reply = Call::private().send(broker.aws_api).await;
    assert_eq!(reply.error(), (500, "ServerException"));
    assert!(reply.message().contains("audit log"), "{reply:?}");
}

/// Callers of each of the two APIs that wait for one AWS call.
const WAITING: u32 = 200;

/// Returns whether `count` requests of a caller are in flight: a request for all the other places is rejected then.
fn are_in_flight(limits: &Limits, caller: &Caller, count: u32) -> bool {
    let room = u32::try_from(limits_settings().in_flight).unwrap() + 1 - count;
    limits.admit(&caller.principal(), NonZeroU32::new(room).unwrap()).is_err()
}

/// A fetch for one API serves the other, whichever came first.
#[tokio::test]
async fn p1_grpc_and_aws_api_share_one_call_per_key() {
    let broker = TestBroker::start_with(|setup| setup.config.server.connections.max_connections_per_address = 1024);
    let limits = broker.limits.clone();
    let at = broker.aws_api;
    for (account, grpc_first) in [("111111111111", true), ("222222222222", false)] {
        let before = broker.source.calls();
        broker.source.shut();
        let accounts = [account];
        let calls = join_all((0..WAITING).map(|_| async { password(&Call::of(&accounts).send(at).await.data()[0]) }));
        let clients = join_all((0..4).map(|_| broker.client())).await;
        let host = format!("{account}.dkr.ecr.eu-central-1.amazonaws.com");
        let over_grpc =
            join_all((0..WAITING).map(|number| {
                let (mut client, request) = (clients[usize::try_from(number % 4).unwrap()].clone(), request(&host));
                async move {
                    client.get_registry_credentials(request).await.unwrap().into_inner().credentials.unwrap().password
                }
            }));
        let until = async |caller| {
            while !are_in_flight(&limits, &caller, WAITING) {
                tokio::task::yield_now().await;
            }
        };
        let second = async || {
            broker.source.until_calls(before + 1).await;
        };
        let calls = async {
            if grpc_first {
                second().await;
            }
            calls.await
        };
        let over_grpc = async {
            if !grpc_first {
                second().await;
            }
            over_grpc.await
        };
        let open = async {
            tokio::join!(until(Caller::AwsApi), until(Caller::Loopback));
            broker.source.open();
        };
        let all = async { tokio::join!(calls, over_grpc, open) };
        let (calls, over_grpc, ()) = timeout(LIMIT, all).await.expect("all share one call");
        assert_eq!(calls.len() + over_grpc.len(), 400);
        let expected = format!("password-{}", before + 1);
        assert!(calls.iter().chain(&over_grpc).all(|password| *password == expected));
        assert_eq!(broker.source.calls(), before + 1);
    }
}

#[tokio::test]
async fn transient_failures_map_to_codes_that_sdks_retry() {
    let (broker, at) = broker();
    for (account, class, error) in [
        ("111111111111", FailureClass::Throttled, (400, "ThrottlingException")),
        ("222222222222", FailureClass::Unavailable, (500, "ServerException")),
        ("333333333333", FailureClass::NoCredentials, (500, "ServerException")),
        ("444444444444", FailureClass::InvalidResponse, (500, "ServerException")),
        ("555555555555", FailureClass::Denied, (400, "AccessDeniedException")),
    ] {
        broker.source.fail(class);
        let reply = Call::of(&[account]).send(at).await;
        assert_eq!(reply.error(), error, "{class:?}");
        assert!(reply.message().ends_with(&format!("(request id {})", reply.id())), "{reply:?}");
        assert_eq!(reply.headers.contains_key("x-amz-retry-after"), class != FailureClass::Denied);
    }
}

#[tokio::test]
async fn connection_serves_several_requests_in_turn() {
    let (broker, at) = broker();
    let mut stream = TcpStream::connect(at).await.unwrap();
    for _ in 0..3 {
        stream.write_all(&Call::private().bytes()).await.unwrap();
        let mut reply = Vec::new();
        while !reply.ends_with(b"}]}") {
            assert_ne!(stream.read_buf(&mut reply).await.unwrap(), 0, "the connection was closed");
        }
        Reply::parse(&reply).data();
    }
    assert_eq!(broker.source.calls(), 1);
}

#[tokio::test]
async fn p8_slow_aws_api_peers_are_disconnected() {
    let (broker, at) = broker();
    let silent = async { rest(&mut TcpStream::connect(at).await.unwrap()).await };
    let partial_head = async {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nhost: x\r\nx-").await.unwrap();
        rest(&mut stream).await
    };
    let idle = async {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(&Call::private().bytes()).await.unwrap();
        rest(&mut stream).await
    };
    let partial_body = async {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let bytes = Call::private().body("{}").bytes();
        stream.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
        rest(&mut stream).await
    };
    let reads_nothing = async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(at).await.unwrap();
        let bytes = Call::of(&["123456789012"; 10]).bytes();
        while stream.write_all(&bytes).await.is_ok() {}
    };
    let all = async { tokio::join!(silent, partial_head, idle, partial_body, reads_nothing) };
    let (silent, head, idle, body, ()) = timeout(2 * LIMIT, all).await.expect("each is disconnected");
    assert!(silent.is_empty() && (head.is_empty() || Reply::parse(&head).status == 408), "{silent:?} {head:?}");
    Reply::parse(&idle).data();
    assert_eq!(Reply::parse(&body).error(), (408, "RequestTimeoutException"));
    Call::private().send(at).await.data();
    drop(broker);
}

#[tokio::test]
async fn p8_aws_api_connections_per_address_are_limited() {
    let broker = TestBroker::start_with(|setup| setup.config.server.connections.max_connections_per_address = 2);
    let at = broker.aws_api;
    let open = [TcpStream::connect(at).await.unwrap(), TcpStream::connect(at).await.unwrap()];
    let mut third = TcpStream::connect(at).await.unwrap();
    assert!(rest(&mut third).await.is_empty());
    drop(open);
}

#[tokio::test]
async fn p9_aws_api_request_in_flight_finishes_or_fails_at_shutdown() {
    for (limit, expected) in [(20, 200), (1, 500)] {
        let broker =
            TestBroker::start_with(|setup| setup.config.server.connections.drain_timeout = Duration::from_secs(limit));
        let (at, source) = (broker.aws_api, Arc::clone(&broker.source));
        source.shut();
        let call = tokio::spawn(Call::private().send(at));
        source.until_calls(1).await;
        let ended = tokio::spawn(broker.stop());
        // The listener closes when the drain begins.
        while TcpStream::connect(at).await.is_ok() {
            tokio::task::yield_now().await;
        }
        if expected == 200 {
            source.open();
        }
        let reply = call.await.unwrap();
        assert_eq!(reply.status, expected, "{reply:?}");
        source.open();
        ended.await.unwrap();
    }
}

#[tokio::test]
async fn p9_drain_closes_idle_connections_at_once_and_busy_ones_after() {
    let (broker, at) = broker();
    let mut silent = TcpStream::connect(at).await.unwrap();
    let mut idle = TcpStream::connect(at).await.unwrap();
    idle.write_all(&Call::private().bytes()).await.unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"}]}") {
        assert_ne!(idle.read_buf(&mut reply).await.unwrap(), 0, "the connection was closed");
    }
    let source = Arc::clone(&broker.source);
    source.shut();
    let mut busy = TcpStream::connect(at).await.unwrap();
    busy.write_all(&Call::of(&["123456789012"]).bytes()).await.unwrap();
    source.until_calls(2).await;
    let ended = broker.stop();
    // Sooner than either would be closed by its idle timeout.
    let at_once = async { tokio::join!(rest(&mut silent), rest(&mut idle)) };
    let (silent, idle) = timeout(Duration::from_secs(3), at_once).await.expect("both are closed at once");
    assert!(silent.is_empty() && idle.is_empty(), "{silent:?} {idle:?}");
    source.open();
    let reply = timeout(Duration::from_secs(3), rest(&mut busy)).await.expect("it is closed after its response");
    Reply::parse(&reply).data();
    ended.await;
}

fn keys() -> [(&'static str, &'static str); 3] {
    [("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "example"), ("AWS_EC2_METADATA_DISABLED", "true")]
}

fn start(arguments: &[&str], environment: &[(&str, &str)]) -> (Server, SocketAddr) {
    let (broker, at) = Server::start_with_aws_api(arguments, environment);
    (broker, at.parse().unwrap())
}

#[tokio::test]
async fn p10_secret_is_created_kept_and_never_logged() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    let api = ["--aws-api-listen", "127.0.0.1:0", "--aws-api-secret-file", file.to_str().unwrap()];
    let arguments = [&SERVE_SIMULATED[..], &api].concat();
    let mut kept = None;
    for _ in 0..2 {
        let (broker, at) = start(&arguments, &[("RUST_LOG", "trace")]);
        assert!(broker.address.starts_with("grpc://"));
        let secret = fs::read_to_string(&file).unwrap();
        let path = format!("/t/{secret}");
        let reply = Call::private().path(&path).send(at).await;
        let token = reply.data()[0]["authorizationToken"].as_str().unwrap().to_owned();
        let wrong = format!("{}{}", &secret[1..], "A");
        assert_eq!(Call::private().path(&format!("/t/{wrong}")).send(at).await.status, 403);
        let over_grpc = run(&["get", "public.ecr.aws", "-o", "json", "--address", &broker.address], &[]);
        over_grpc.out();
        let mut stranger = TcpStream::connect(at).await.unwrap();
        stranger.write_all(format!("POST {path} FTP/9\r\n\r\n").as_bytes()).await.unwrap();
        rest(&mut stranger).await;
        let logs = broker.stop();
        assert!(logs.contains("AWS_ENDPOINT_URL_ECR") && logs.contains("HTTP/1.1 connection failed"), "{logs}");
        for hidden in [&secret, &wrong[..40], &token[..64]] {
            assert!(!logs.contains(hidden), "{hidden} in {logs}");
        }
        assert_eq!(kept.get_or_insert_with(|| secret.clone()), &secret, "a restart keeps the secret");
    }
}

#[test]
fn p13_aws_api_off_loopback_or_without_secret_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let short = write_secret(directory.path(), "short-0123456789");
    let (short, absent) = (short.to_str().unwrap(), directory.path().join("absent"));
    let serve = |listen: &str, file: &[&str]| -> Ended {
        run(&[&SERVE_SIMULATED[..], &["--aws-api-listen", listen], file].concat(), &[])
    };
    for (listen, file, said) in [
        ("0.0.0.0:0", &["--aws-api-secret-file", absent.to_str().unwrap()][..], "is reachable from other hosts"),
        ("[::]:9911", &["--aws-api-secret-file", absent.to_str().unwrap()], "is reachable from other hosts"),
        ("unix:/run/x.sock", &["--aws-api-secret-file", absent.to_str().unwrap()], "expected IP:PORT"),
        ("127.0.0.1:0", &[], "set server.aws_api_secret_file"),
        ("127.0.0.1:0", &["--aws-api-secret-file", short], "holds no secret"),
        ("127.0.0.1:0", &["--aws-api-secret-file", "/no/such/secret"], "create its directory"),
    ] {
        let ended = serve(listen, file);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{listen} {file:?}: {}", ended.stderr);
        assert!(
            ended.error().contains(said) && !ended.stderr.contains("short-01"),
            "{listen} {file:?}: {}",
            ended.stderr
        );
    }
    assert!(!absent.exists(), "no secret is created if the broker does not start");
    let without_listen = run(&["serve", "--aws-api-secret-file", short], &[]);
    assert!(without_listen.error().contains("set server.aws_api_listen"), "{}", without_listen.stderr);
}

#[test]
fn p13_broker_with_itself_as_aws_endpoint_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = write_secret(directory.path(), SECRET);
    // A port that was free a moment ago. If another process takes it, the start fails for another reason, and so does the test.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (listen, endpoint) = (format!("127.0.0.1:{port}"), format!("http://localhost:{port}/t/{SECRET}"));
    let api = ["--aws-api-listen", &listen, "--aws-api-secret-file", file.to_str().unwrap()];
    let arguments = [&["serve", "--listen", "127.0.0.1:0", "--allow-loopback"][..], &api].concat();
    for variable in
        ["AWS_ENDPOINT_URL_ECR", "AWS_ENDPOINT_URL_ECR_PUBLIC", "AWS_ENDPOINT_URL", "ECR_BROKER_AWS_ECR_ENDPOINT"]
    {
        let ended = run(&arguments, &[&keys()[..], &[(variable, endpoint.as_str())]].concat());
        assert_eq!(ended.code, 1, "{variable}");
        assert!(ended.error().contains("set aws.ecr_endpoint"), "{variable}: {}", ended.stderr);
        assert!(!ended.stderr.contains(SECRET), "{variable}: {}", ended.stderr);
    }
    // With the variable for its callers and settings for its own calls the broker starts, as the error advises.
    let own = [
        ("AWS_ENDPOINT_URL_ECR", endpoint.as_str()),
        ("AWS_ENDPOINT_URL_ECR_PUBLIC", endpoint.as_str()),
        ("ECR_BROKER_AWS_ECR_ENDPOINT", "https://api.ecr.{region}.amazonaws.com"),
        ("ECR_BROKER_AWS_ECR_PUBLIC_ENDPOINT", "https://api.ecr-public.us-east-1.amazonaws.com"),
        ("AWS_REGION", "eu-central-1"),
    ];
    let logs = Server::start(&arguments, &[&keys()[..], &own].concat()).stop();
    assert!(!logs.contains(SECRET), "{logs}");
}

/// The log has every denial, also without an audit log.
#[tokio::test]
async fn every_denied_registry_is_logged_with_caller_and_request_id() {
    let directory = tempfile::tempdir().unwrap();
    let (file, config) = (write_secret(directory.path(), SECRET), directory.path().join("broker.toml"));
    fs::write(&config, "grants = []\n").unwrap();
    let api = ["--aws-api-listen", "127.0.0.1:0", "--aws-api-secret-file", file.to_str().unwrap()];
    let (broker, at) = start(&[&SERVE_SIMULATED[..], &api, &["--config", config.to_str().unwrap()]].concat(), &[]);
    let accounts = ["111111111111", "222222222222", "333333333333"];
    let reply = Call::of(&accounts).send(at).await;
    assert_eq!(reply.error(), (400, "AccessDeniedException"));
    let logs = broker.stop();
    for account in accounts {
        let line = logs.lines().find(|line| line.contains("denied") && line.contains(account));
        let line = line.unwrap_or_else(|| panic!("{account} is not logged: {logs}"));
        assert!(line.contains(reply.id()) && line.contains("aws-api"), "{line}");
    }
}

/// A broker that listens on the first default socket that it can create, and calls no AWS.
fn serve_on_a_default_socket(at: SocketAddr, secret: &Path, directory: &Path) -> std::process::Command {
    let runtime = directory.to_str().unwrap();
    let environment = [("XDG_RUNTIME_DIR", runtime), ("AWS_REGION", "eu-central-1")];
    let mut command = program::program(&[&keys()[..], &environment].concat());
    command.args(["serve", "--aws-api-listen", &at.to_string(), "--aws-api-secret-file"]).arg(secret);
    command
}

#[tokio::test]
async fn activated_socket_of_the_aws_api_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let file = write_secret(directory.path(), SECRET);
    let socket = std::net::TcpListener::bind(ANY_PORT).unwrap();
    let at = socket.local_addr().unwrap();
    let command = serve_on_a_default_socket(at, &file, directory.path());
    let default = Path::new("/run/ecr-broker");
    let existed = default.exists();
    let broker = Server::spawn_logging(program::activated(&command, socket));
    assert!(broker.address.starts_with("unix:") && broker.address.ends_with("/broker.sock"), "{}", broker.address);
    let reply = Call::private().method("GET").send(at).await;
    assert_eq!(reply.error(), (400, "UnknownOperationException"), "{reply:?}");
    broker.stop();
    if !existed {
        // Only root could create it.
        _ = fs::remove_dir(default);
    }
}

#[test]
fn aws_api_port_in_use_is_named_in_the_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = write_secret(directory.path(), SECRET);
    let taken = std::net::TcpListener::bind(ANY_PORT).unwrap();
    let at = taken.local_addr().unwrap();
    let output = serve_on_a_default_socket(at, &file, directory.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let problem = format!("server.aws_api_listen: cannot listen on {at}: the port is in use");
    assert_eq!(said.matches(&problem).count(), 1, "{said}");
    assert!(!said.contains("broker.sock") && !said.contains("grpc://"), "{said}");
}

#[test]
fn secret_of_another_user_is_refused_by_serve_not_by_config_check() {
    let directory = tempfile::tempdir().unwrap();
    let file = write_secret(directory.path(), SECRET);
    if std::os::unix::fs::chown(&file, Some(12345), None).is_err() {
        program::skipped("only root can give files to another user");
        return;
    }
    let api = ["--aws-api-listen", "127.0.0.1:0", "--aws-api-secret-file", file.to_str().unwrap()];
    let ended = run(&[&SERVE_SIMULATED[..], &api].concat(), &[]);
    assert!(ended.code == 1 && ended.error().contains("belongs to user 12345"), "{}", ended.stderr);
    let config = directory.path().join("broker.toml");
    let text = format!("[server]\naws_api_listen = \"127.0.0.1:9911\"\naws_api_secret_file = {file:?}\n");
    fs::write(&config, text).unwrap();
    let checked = run(&["config", "check", "--config", config.to_str().unwrap()], &[]);
    assert!(checked.code == 0 && checked.error().contains("belongs to user 12345"), "{checked:?}");
}

#[tokio::test]
async fn broker_as_aws_of_a_broker_is_denied_and_region_is_required() {
    let directory = tempfile::tempdir().unwrap();
    let file = write_secret(directory.path(), SECRET);
    let api = ["--aws-api-listen", "127.0.0.1:0", "--aws-api-secret-file", file.to_str().unwrap()];
    let serve = ["serve", "--listen", "127.0.0.1:0", "--allow-loopback"];
    let (_first, at) = start(&[&SERVE_SIMULATED[..], &api].concat(), &[]);
    let endpoint = format!("http://{at}/t/{SECRET}");
    let environment = [&keys()[..], &[("ECR_BROKER_AWS_ECR_ENDPOINT", &endpoint)]].concat();
    let (second, at) = start(&[&serve[..], &api].concat(), &environment);
    let ended = run(&["get", HOST, "--address", &second.address], &[]);
    assert!(ended.error().contains("AWS_ACCESS_DENIED"), "{}", ended.stderr);
    let reply = Call::private().send(at).await;
    assert_eq!(reply.error(), (400, "InvalidParameterException"));
    assert!(reply.message().contains("aws.region"), "{reply:?}");
    let logs = second.stop();
    assert!(!logs.contains(SECRET), "{logs}");
}

#[tokio::test]
async fn p2_aws_api_answers_the_cause_of_a_wait_before_its_time_limit() {
    let cache = TestCache::new();
    cache.source.set_fetch_budget(MINUTE);
    let broker = TestBroker::start_on(cache, Policy::Open, None, |_| ());
    broker.source.fail(FailureClass::Throttled);
    assert_eq!(Call::public().send(broker.aws_api).await.error(), (400, "ThrottlingException"));
    broker.clock.advance(Duration::from_secs(1));
    broker.source.shut();
    let mut stream = TcpStream::connect(broker.aws_api).await.unwrap();
    stream.write_all(&Call::public().header("connection", "close").bytes()).await.unwrap();
    broker.source.until_calls(2).await;
    // From now on the clock advances whenever all tasks wait.
    tokio::time::pause();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.unwrap();
    assert_eq!(Reply::parse(&reply).error(), (400, "ThrottlingException"));
}
