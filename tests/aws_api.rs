//! The AWS API: `GetAuthorizationToken` as AWS answers it, from the broker's cache, for whoever has the secret.

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
use ecr_broker::limits::{Limits, Origin};
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
/// Offenders are let go of within this; the machine may have other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: Value,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let headers = lines.filter_map(header).collect();
        Self { status, headers, body: serde_json::from_str(body).unwrap_or_default() }
    }

    /// What an SDK takes for the error.
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

/// A request as SDKs make it.
struct Asked<'a> {
    method: &'a str,
    path: String,
    headers: Vec<(&'a str, String)>,
    body: String,
}

impl<'a> Asked<'a> {
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

    /// In place of one of that name.
    fn header(mut self, name: &'a str, value: &str) -> Self {
        self.headers.retain(|(own, _)| *own != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    /// By keys that nobody knows, for a region.
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

    async fn send(self, to: SocketAddr) -> Answer {
        let mut stream = TcpStream::connect(to).await.unwrap();
        let bytes = self.header("connection", "close").bytes();
        // What is refused by its head alone may be answered before the rest is sent.
        _ = stream.write_all(&bytes).await;
        Answer::parse(&rest(&mut stream).await)
    }
}

/// All that comes until the end.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an end");
    bytes
}

fn write_secret(directory: &Path, secret: &str) -> std::path::PathBuf {
    let file = directory.join("aws-api-secret");
    fs::write(&file, secret).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file
}

/// A broker with the AWS API, and where that is.
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
async fn a_token_has_the_shape_that_aws_gives_it() {
    let (broker, at) = broker();
    let answer = Asked::private().send(at).await;
    let [token] = answer.data().as_array().unwrap().as_slice() else { panic!("{answer:?}") };
    // The account is the one that AWS named, the end the one that it gave: 1,800,000,000 and twelve hours.
    assert_eq!(token["proxyEndpoint"], "https://999999999999.dkr.ecr.eu-central-1.amazonaws.com");
    assert_eq!(token["expiresAt"].as_f64(), Some(1_800_043_200.0));
    assert_eq!(password(token), "password-1");
    assert_eq!(answer.id().len(), 32);

    let answer = Asked::public().signed_for("us-east-1", "ecr-public").send(at).await;
    let token = answer.data();
    assert_eq!((password(token).as_str(), token.get("proxyEndpoint")), ("password-2", None));
    assert_eq!(token["expiresAt"].as_f64(), Some(1_800_043_200.0));
    drop(broker);
}

#[tokio::test]
async fn each_registry_has_its_token_in_the_region_that_the_call_is_signed_for() {
    let (broker, at) = broker();
    let answer = Asked::of(&["111111111111", "222222222222"]).signed_for("cn-north-1", "ecr").send(at).await;
    let tokens = answer.data().as_array().unwrap();
    let hosts: Vec<_> = tokens.iter().map(|token| token["proxyEndpoint"].as_str().unwrap()).collect();
    assert_eq!(
        hosts,
        [
            "https://111111111111.dkr.ecr.cn-north-1.amazonaws.com.cn",
            "https://222222222222.dkr.ecr.cn-north-1.amazonaws.com.cn"
        ]
    );
    assert_ne!(password(&tokens[0]), password(&tokens[1]));
    // Unsigned, as --no-sign-request does it: the broker's own region.
    let unsigned = Asked::of(&["111111111111"]).send(at).await;
    assert_eq!(unsigned.data()[0]["proxyEndpoint"], "https://111111111111.dkr.ecr.eu-central-1.amazonaws.com");
    assert_eq!(broker.source.calls(), 3);

    let eleven = ["111111111111"; 11];
    for ids in [&eleven[..], &[], &["1"], &["11111111111x"]] {
        assert_eq!(Asked::of(ids).send(at).await.error(), (400, "InvalidParameterException"), "{ids:?}");
    }
    for (region, code) in [("mars-1", "InvalidSignatureException"), ("eu/west", "IncompleteSignatureException")] {
        assert_eq!(Asked::private().signed_for(region, "ecr").send(at).await.error(), (403, code), "{region}");
    }
    assert_eq!(broker.source.calls(), 3, "what is wrong does not reach AWS");
}

#[tokio::test]
async fn without_the_secret_nothing_is_answered_and_too_many_guesses_keep_nobody_else_out() {
    let one = NonZeroU32::new(1).unwrap();
    let broker = TestBroker::start_with(|setup| setup.config.limits.failures_per_second = one);
    let at = broker.aws_api;
    let (longer, shorter) = (format!("/t/{SECRET}x"), format!("/t/{}", &SECRET[1..]));
    let (deeper, elsewhere) = (format!("/t/{SECRET}/x"), format!("/{SECRET}"));
    for path in ["/", "/t/", "/t", &longer, &shorter, &deeper, &elsewhere, "/t/%30"] {
        let answer = Asked::private().path(path).send(at).await;
        assert_eq!(answer.error(), (403, "AccessDeniedException"), "{path}");
        assert!(
            answer.message().contains("AWS_ENDPOINT_URL_ECR") && answer.message().contains(answer.id()),
            "{answer:?}"
        );
    }
    for path in [format!("/t/{SECRET}"), format!("/t/{SECRET}/"), format!("/t/{SECRET}?x=y")] {
        Asked::private().path(&path).send(at).await.data();
    }
    // The ninth and the tenth, after which a second has to pass for each.
    for method in ["GET", "DELETE"] {
        assert_eq!(Asked::private().method(method).path("/").send(at).await.error().0, 403, "{method}");
    }
    let wrong = || Asked::private().path("/");
    let throttled = wrong().send(at).await;
    assert_eq!(throttled.error(), (400, "ThrottlingException"));
    assert!(throttled.headers["x-amz-retry-after"].parse::<u64>().unwrap() >= 1000, "{throttled:?}");
    // Whoever has the secret is served meanwhile, and tokens and handshakes from the same address are listened to.
    Asked::private().send(at).await.data();
    broker.limits.check_origin(Origin::of(at.ip())).unwrap();
    broker.clock.advance(Duration::from_secs(3));
    assert_eq!(wrong().send(at).await.error().0, 403);
    assert_eq!(broker.source.calls(), 1);
}

#[tokio::test]
async fn what_asks_for_something_else_is_told_where_to_ask() {
    let (broker, at) = broker();
    let describe = "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories";
    for asked in [
        Asked::new(describe, &json!({})),
        Asked::new(&PRIVATE.to_lowercase(), &json!({})),
        Asked::private().method("GET"),
        Asked::private().method("OPTIONS"),
        Asked::private().header("content-type", "text/plain"),
        Asked::private().header("x-amz-target", ""),
    ] {
        let answer = asked.send(at).await;
        assert_eq!(answer.error(), (400, "UnknownOperationException"), "{answer:?}");
        assert!(answer.message().contains("unset AWS_ENDPOINT_URL_ECR"), "{answer:?}");
    }
    assert!(Asked::new(describe, &json!({})).send(at).await.message().contains("DescribeRepositories"));
    for (asked, error) in [
        (Asked::private().body("{"), (400, "SerializationException")),
        (Asked::private().body(&" ".repeat(64 * 1024 + 1)), (413, "RequestEntityTooLargeException")),
        (Asked::private().header("user-agent", "aws-sdk-rust/1 app/ecr-broker"), (400, "AccessDeniedException")),
    ] {
        assert_eq!(asked.send(at).await.error(), error);
    }
    assert_eq!(Asked::private().header("x", &"x".repeat(128 * 1024)).send(at).await.status, 431);
    Asked::private().body("").send(at).await.data();
    assert_eq!(broker.source.calls(), 1);
}

#[tokio::test]
async fn a_grant_for_the_aws_api_gives_what_it_names_and_the_record_says_who_asked() {
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
    let answer = Asked::of(&["111111111111"]).send(at).await;
    let (token, record) = (password(&answer.data()[0]), last());
    let proof = "secret of the broker's AWS API, from the broker's host; the process is unknown";
    for (field, value) in [
        ("outcome", "released"),
        ("caller", "aws-api"),
        ("proof", proof),
        ("grant", "scripts"),
        ("registry", "111111111111.dkr.ecr.eu-central-1.amazonaws.com"),
        ("request_id", answer.id()),
    ] {
        assert_eq!(record[field], value, "{field}");
    }
    // The account of a call that names none is not known before AWS is asked.
    let in_us = Asked::of(&["111111111111"]).signed_for("us-east-1", "ecr");
    let mut id = String::new();
    for asked in [
        Asked::of(&["222222222222"]),
        Asked::of(&["111111111111", "222222222222"]),
        in_us,
        Asked::private(),
        Asked::public(),
    ] {
        let answer = asked.send(at).await;
        assert_eq!(answer.error(), (400, "AccessDeniedException"), "{answer:?}");
        assert!(answer.message().contains(answer.id()), "{answer:?}");
        assert!(!answer.body.to_string().contains("authorizationToken"));
        answer.id().clone_into(&mut id);
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

/// The loopback port needs no secret.
#[tokio::test]
async fn what_is_granted_to_one_of_loopback_and_the_aws_api_is_not_granted_to_the_other() {
    for (pattern, over_grpc) in [(CallerPattern::Loopback, true), (CallerPattern::AwsApi, false)] {
        let everything = Grant {
            id: "one".into(),
            callers: vec![pattern],
            registries: vec![RegistryPattern::Private { accounts: Accounts::Any, regions: vec!["*".parse().unwrap()] }],
            profile: None,
            effect: Effect::Allow,
        };
        let broker = TestBroker::start_as(Policy::Grants(vec![everything]), None, |_| ());
        let answer = Asked::of(&["123456789012"]).send(broker.aws_api).await;
        let called = broker.client().await.get_registry_credentials(request(HOST)).await;
        if over_grpc {
            assert_eq!(answer.error(), (400, "AccessDeniedException"));
            called.unwrap();
        } else {
            answer.data();
            assert_eq!(called.unwrap_err().code(), tonic::Code::PermissionDenied);
        }
    }
}

#[tokio::test]
async fn p11_over_the_aws_api_too_nothing_is_released_that_is_not_on_record() {
    let full = Output::File("/dev/full".into());
    let broker = TestBroker::start_as(Policy::Open, Some(&full), |_| ());
    let answer = Asked::private().send(broker.aws_api).await;
    assert_eq!(answer.error(), (503, "ServiceUnavailable"));
    assert!(answer.message().contains("audit log"), "{answer:?}");
}

/// Callers of each of the two APIs, who all wait for the one call.
const WAITING: u32 = 200;

/// Whether so many of a caller's requests are under way: whether there is room for less than what is left.
fn are_under_way(limits: &Limits, caller: &Caller, count: u32) -> bool {
    let room = u32::try_from(limits_settings().in_flight).unwrap() + 1 - count;
    limits.admit(&caller.principal(), NonZeroU32::new(room).unwrap()).is_err()
}

/// What came over gRPC serves the AWS API, and the other way round, whichever was first.
#[tokio::test]
async fn p1_whoever_asks_and_over_whichever_api_a_key_is_one_call() {
    let broker = TestBroker::start_with(|setup| setup.config.server.connections.max_connections_per_address = 1024);
    let limits = broker.limits.clone();
    let at = broker.aws_api;
    for (account, grpc_first) in [("111111111111", true), ("222222222222", false)] {
        let before = broker.source.calls();
        broker.source.shut();
        let accounts = [account];
        let calls = join_all((0..WAITING).map(|_| async { password(&Asked::of(&accounts).send(at).await.data()[0]) }));
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
            while !are_under_way(&limits, &caller, WAITING) {
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
        let (calls, over_grpc, ()) = timeout(PATIENCE, all).await.expect("all wait for one call");
        assert_eq!(calls.len() + over_grpc.len(), 400);
        let expected = format!("password-{}", before + 1);
        assert!(calls.iter().chain(&over_grpc).all(|password| *password == expected));
        assert_eq!(broker.source.calls(), before + 1);
    }
}

#[tokio::test]
async fn what_may_work_later_is_what_sdks_try_again() {
    let (broker, at) = broker();
    for (account, class, error) in [
        ("111111111111", FailureClass::Throttled, (400, "ThrottlingException")),
        ("222222222222", FailureClass::Unavailable, (503, "ServiceUnavailable")),
        ("333333333333", FailureClass::NoCredentials, (500, "ServerException")),
        ("444444444444", FailureClass::InvalidResponse, (500, "ServerException")),
        ("555555555555", FailureClass::Denied, (400, "AccessDeniedException")),
    ] {
        broker.source.fail(class);
        let answer = Asked::of(&[account]).send(at).await;
        assert_eq!(answer.error(), error, "{class:?}");
        assert!(answer.message().ends_with(&format!("(request id {})", answer.id())), "{answer:?}");
        assert_eq!(answer.headers.contains_key("x-amz-retry-after"), class != FailureClass::Denied);
    }
}

#[tokio::test]
async fn a_connection_answers_one_call_after_the_other() {
    let (broker, at) = broker();
    let mut stream = TcpStream::connect(at).await.unwrap();
    for _ in 0..3 {
        stream.write_all(&Asked::private().bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}]}") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "it was closed");
        }
        Answer::parse(&answer).data();
    }
    assert_eq!(broker.source.calls(), 1);
}

#[tokio::test]
async fn p8_whoever_is_slow_to_speak_or_to_listen_is_let_go_of() {
    let (broker, at) = broker();
    let says_nothing = async { rest(&mut TcpStream::connect(at).await.unwrap()).await };
    let stops_amid_its_head = async {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nhost: x\r\nx-").await.unwrap();
        rest(&mut stream).await
    };
    let goes_idle = async {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(&Asked::private().bytes()).await.unwrap();
        rest(&mut stream).await
    };
    let sends_no_body = async {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let bytes = Asked::private().body("{}").bytes();
        stream.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
        rest(&mut stream).await
    };
    let takes_nothing = async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(at).await.unwrap();
        let bytes = Asked::of(&["123456789012"; 10]).bytes();
        while stream.write_all(&bytes).await.is_ok() {}
    };
    let all = async { tokio::join!(says_nothing, stops_amid_its_head, goes_idle, sends_no_body, takes_nothing) };
    let (nothing, head, idle, body, ()) = timeout(2 * PATIENCE, all).await.expect("each is closed");
    assert!(nothing.is_empty() && (head.is_empty() || Answer::parse(&head).status == 408), "{nothing:?} {head:?}");
    Answer::parse(&idle).data();
    assert_eq!(Answer::parse(&body).error(), (408, "RequestTimeoutException"));
    Asked::private().send(at).await.data();
    drop(broker);
}

#[tokio::test]
async fn p8_a_host_has_so_many_connections_and_no_more() {
    let broker = TestBroker::start_with(|setup| setup.config.server.connections.max_connections_per_address = 2);
    let at = broker.aws_api;
    let held = [TcpStream::connect(at).await.unwrap(), TcpStream::connect(at).await.unwrap()];
    let mut third = TcpStream::connect(at).await.unwrap();
    assert!(rest(&mut third).await.is_empty());
    drop(held);
}

#[tokio::test]
async fn p9_a_call_in_flight_is_answered_while_the_broker_ends_and_one_that_takes_too_long_is_told() {
    for (limit, expected) in [(20, 200), (1, 503)] {
        let broker =
            TestBroker::start_with(|setup| setup.config.server.connections.drain_timeout = Duration::from_secs(limit));
        let (at, source) = (broker.aws_api, Arc::clone(&broker.source));
        source.shut();
        let call = tokio::spawn(Asked::private().send(at));
        source.until_calls(1).await;
        let ended = tokio::spawn(broker.stop());
        // The listener closes with the drain's beginning.
        while TcpStream::connect(at).await.is_ok() {
            tokio::task::yield_now().await;
        }
        if expected == 200 {
            source.open();
        }
        let answer = call.await.unwrap();
        assert_eq!(answer.status, expected, "{answer:?}");
        source.open();
        ended.await.unwrap();
    }
}

#[tokio::test]
async fn p9_idle_connections_are_closed_at_once_and_one_that_waits_for_its_answer_with_it() {
    let (broker, at) = broker();
    let mut silent = TcpStream::connect(at).await.unwrap();
    let mut idle = TcpStream::connect(at).await.unwrap();
    idle.write_all(&Asked::private().bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}]}") {
        assert_ne!(idle.read_buf(&mut answer).await.unwrap(), 0, "it was closed");
    }
    let source = Arc::clone(&broker.source);
    source.shut();
    let mut busy = TcpStream::connect(at).await.unwrap();
    busy.write_all(&Asked::of(&["123456789012"]).bytes()).await.unwrap();
    source.until_calls(2).await;
    let ended = broker.stop();
    // Sooner than either would be closed for its silence.
    let at_once = async { tokio::join!(rest(&mut silent), rest(&mut idle)) };
    let (silent, idle) = timeout(Duration::from_secs(3), at_once).await.expect("both are closed at once");
    assert!(silent.is_empty() && idle.is_empty(), "{silent:?} {idle:?}");
    source.open();
    let answer = timeout(Duration::from_secs(3), rest(&mut busy)).await.expect("it is closed when it is answered");
    Answer::parse(&answer).data();
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
async fn p10_the_program_makes_the_secret_keeps_it_and_writes_it_nowhere_else() {
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
        let answer = Asked::private().path(&path).send(at).await;
        let token = answer.data()[0]["authorizationToken"].as_str().unwrap().to_owned();
        let wrong = format!("{}{}", &secret[1..], "A");
        assert_eq!(Asked::private().path(&format!("/t/{wrong}")).send(at).await.status, 403);
        let over_grpc = run(&["get", "public.ecr.aws", "-o", "json", "--address", &broker.address], &[]);
        over_grpc.out();
        let mut stranger = TcpStream::connect(at).await.unwrap();
        stranger.write_all(format!("POST {path} FTP/9\r\n\r\n").as_bytes()).await.unwrap();
        rest(&mut stranger).await;
        let logs = broker.stop();
        assert!(logs.contains("AWS_ENDPOINT_URL_ECR") && logs.contains("ECR API connection failed"), "{logs}");
        for hidden in [&secret, &wrong[..40], &token[..64]] {
            assert!(!logs.contains(hidden), "{hidden} in {logs}");
        }
        assert_eq!(kept.get_or_insert_with(|| secret.clone()), &secret, "a restart changes nothing");
    }
}

#[test]
fn p13_the_aws_api_beyond_loopback_or_without_a_secret_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let short = write_secret(directory.path(), "short-0123456789");
    let (short, absent) = (short.to_str().unwrap(), directory.path().join("absent"));
    let serve = |listen: &str, file: &[&str]| -> Ended {
        run(&[&SERVE_SIMULATED[..], &["--aws-api-listen", listen], file].concat(), &[])
    };
    for (listen, file, said) in [
        ("0.0.0.0:0", &["--aws-api-secret-file", absent.to_str().unwrap()][..], "can be reached from other hosts"),
        ("[::]:9911", &["--aws-api-secret-file", absent.to_str().unwrap()], "can be reached from other hosts"),
        ("unix:/run/x.sock", &["--aws-api-secret-file", absent.to_str().unwrap()], "is not IP:PORT"),
        ("127.0.0.1:0", &[], "set server.aws_api_secret_file"),
        ("127.0.0.1:0", &["--aws-api-secret-file", short], "holds no secret"),
        ("127.0.0.1:0", &["--aws-api-secret-file", "/no/such/secret"], "make its directory"),
    ] {
        let ended = serve(listen, file);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{listen} {file:?}: {}", ended.stderr);
        assert!(
            ended.error().contains(said) && !ended.stderr.contains("short-01"),
            "{listen} {file:?}: {}",
            ended.stderr
        );
    }
    assert!(!absent.exists(), "nothing is made for a broker that does not start");
    let alone = run(&["serve", "--aws-api-secret-file", short], &[]);
    assert!(alone.error().contains("set server.aws_api_listen"), "{}", alone.stderr);
}

#[test]
fn p13_the_aws_api_is_not_what_the_broker_itself_asks() {
    let directory = tempfile::tempdir().unwrap();
    let file = write_secret(directory.path(), SECRET);
    // A port that was free a moment ago; whoever takes it meanwhile makes the start fail for another reason, and the test too.
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
    // With the variable for its callers and settings for itself it starts, as the advice says.
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

/// Without an audit log, too, the log has each.
#[tokio::test]
async fn each_registry_that_is_denied_is_logged_with_who_asked_and_in_which_call() {
    let directory = tempfile::tempdir().unwrap();
    let (file, config) = (write_secret(directory.path(), SECRET), directory.path().join("broker.toml"));
    fs::write(&config, "grants = []\n").unwrap();
    let api = ["--aws-api-listen", "127.0.0.1:0", "--aws-api-secret-file", file.to_str().unwrap()];
    let (broker, at) = start(&[&SERVE_SIMULATED[..], &api, &["--config", config.to_str().unwrap()]].concat(), &[]);
    let accounts = ["111111111111", "222222222222", "333333333333"];
    let answer = Asked::of(&accounts).send(at).await;
    assert_eq!(answer.error(), (400, "AccessDeniedException"));
    let logs = broker.stop();
    for account in accounts {
        let line = logs.lines().find(|line| line.contains("denied") && line.contains(account));
        let line = line.unwrap_or_else(|| panic!("{account} is not logged: {logs}"));
        assert!(line.contains(answer.id()) && line.contains("aws-api"), "{line}");
    }
}

/// A broker that listens on the first of the usual sockets that can be made, and asks nobody.
fn serve_on_a_usual_socket(at: SocketAddr, secret: &Path, directory: &Path) -> std::process::Command {
    let runtime = directory.to_str().unwrap();
    let environment = [("XDG_RUNTIME_DIR", runtime), ("AWS_REGION", "eu-central-1")];
    let mut command = program::program(&[&keys()[..], &environment].concat());
    command.args(["serve", "--aws-api-listen", &at.to_string(), "--aws-api-secret-file"]).arg(secret);
    command
}

#[tokio::test]
async fn a_socket_that_is_handed_over_for_the_aws_api_alone_is_what_it_is_answered_on() {
    let directory = tempfile::tempdir().unwrap();
    let file = write_secret(directory.path(), SECRET);
    let socket = std::net::TcpListener::bind(ANY_PORT).unwrap();
    let at = socket.local_addr().unwrap();
    let mut command = serve_on_a_usual_socket(at, &file, directory.path());
    command.env("LISTEN_FDS", "1").env("LISTEN_FDS_FIRST_FD", "0");
    command.stdin(std::os::fd::OwnedFd::from(socket));
    let usual = Path::new("/run/ecr-broker");
    let was_there = usual.exists();
    let broker = Server::spawn_logging(command);
    assert!(broker.address.starts_with("unix:") && broker.address.ends_with("/broker.sock"), "{}", broker.address);
    let answer = Asked::private().method("GET").send(at).await;
    assert_eq!(answer.error(), (400, "UnknownOperationException"), "{answer:?}");
    broker.stop();
    if !was_there {
        // Only root has made it.
        _ = fs::remove_dir(usual);
    }
}

#[test]
fn a_port_of_the_aws_api_that_is_taken_is_named_and_no_socket_is_blamed_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = write_secret(directory.path(), SECRET);
    let taken = std::net::TcpListener::bind(ANY_PORT).unwrap();
    let at = taken.local_addr().unwrap();
    let output = serve_on_a_usual_socket(at, &file, directory.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let problem = format!("server.aws_api_listen: cannot listen on {at}: the port is in use");
    assert_eq!(said.matches(&problem).count(), 1, "{said}");
    assert!(!said.contains("broker.sock") && !said.contains("grpc://"), "{said}");
}

#[test]
fn a_secret_that_belongs_to_another_user_is_refused_by_the_broker_and_not_by_a_check() {
    let directory = tempfile::tempdir().unwrap();
    let file = write_secret(directory.path(), SECRET);
    // Only root can give a file away.
    if std::os::unix::fs::chown(&file, Some(12345), None).is_err() {
        return;
    }
    let api = ["--aws-api-listen", "127.0.0.1:0", "--aws-api-secret-file", file.to_str().unwrap()];
    let ended = run(&[&SERVE_SIMULATED[..], &api].concat(), &[]);
    assert!(ended.code == 1 && ended.error().contains("belongs to the user 12345"), "{}", ended.stderr);
    let config = directory.path().join("broker.toml");
    let text = format!("[server]\naws_api_listen = \"127.0.0.1:9911\"\naws_api_secret_file = {file:?}\n");
    fs::write(&config, text).unwrap();
    run(&["config", "check", "--config", config.to_str().unwrap()], &[]).out();
}

#[tokio::test]
async fn a_broker_that_asks_a_broker_is_refused_and_a_call_without_a_region_is_told_so() {
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
    let answer = Asked::private().send(at).await;
    assert_eq!(answer.error(), (400, "InvalidParameterException"));
    assert!(answer.message().contains("aws.region"), "{answer:?}");
    let logs = second.stop();
    assert!(!logs.contains(SECRET), "{logs}");
}
