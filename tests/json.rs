//! The JSON API over real HTTP: authentication, grants, limits, audit records, malformed requests, TLS and the drain.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod certificates;
mod program;
mod scraped;
mod support;
mod tokens;

use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use certificates::{Authority, BROKER, RUNNER};
use data_encoding::BASE64;
use ecr_broker::address::ListenAddress;
use ecr_broker::audit::Output;
use ecr_broker::authn::tls::{Settings as TlsSettings, Tls};
use ecr_broker::caller::Caller;
use ecr_broker::config::Json;
use ecr_broker::error::FailureClass;
use ecr_broker::limits::{Attempt, ConnectionMemory, Origin};
use ecr_broker::metrics::Format;
use ecr_broker::policy::{Accounts, CallerPattern, Effect, Grant, Policy, RegistryPattern, TokenPattern};
use program::{SERVE_SIMULATED, Server, run};
use reqwest::{Certificate, Client, Identity, Method, RequestBuilder, StatusCode};
use scraped::Scraped;
use serde_json::{Value, json};
use support::{HOST, TestBroker, TestCache};
use tokens::{ISSUER, SUBJECT, Signer, issuers, seconds};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::Instant;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const FIELDS: [&str; 7] =
    ["registry", "username", "password", "expires_at", "refresh_after_seconds", "credential_id", "dockerconfigjson"];

/// A broker with the JSON API on loopback that accepts tokens.
struct Served {
    broker: TestBroker,
    signer: Signer,
    client: Client,
    directory: tempfile::TempDir,
}

/// A reply: status, headers and JSON.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Value,
}

impl Reply {
    async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        assert_eq!((&headers["cache-control"], &headers["content-type"]), (&json_text("no-store"), &json_text(JSON)));
        assert!(!headers.keys().any(|name| name.as_str().starts_with("access-control-")), "{headers:?}");
        Self { status, headers, body: serde_json::from_str(&response.text().await.unwrap()).unwrap() }
    }

    /// Returns status and reason of an error, which has a message and a request ID and no credential.
    fn error(&self) -> (u16, &str) {
        let id = self.body["request_id"].as_str().unwrap_or_else(|| panic!("{self:?}"));
        assert!(id.len() == 32 && self.headers["x-request-id"] == *id, "{self:?}");
        assert!(!self.message().is_empty(), "{self:?}");
        assert!(!FIELDS.iter().any(|field| self.body.get(field).is_some()), "{self:?}");
        (self.status.as_u16(), self.body["reason"].as_str().unwrap())
    }

    fn message(&self) -> &str {
        self.body["message"].as_str().unwrap()
    }

    fn password(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.body["password"].as_str().unwrap().to_owned()
    }
}

const JSON: &str = "application/json";

fn json_text(text: &'static str) -> http::HeaderValue {
    http::HeaderValue::from_static(text)
}

impl Served {
    fn start() -> Self {
        Self::start_as(Policy::Open, false, |_| ())
    }

    fn start_as(policy: Policy, audited: bool, change: impl FnOnce(&mut support::Setup)) -> Self {
        let (cache, signer, directory) = (TestCache::new(), Signer::new("k1"), tempfile::tempdir().unwrap());
        let issuers = issuers(&signer, directory.path(), cache.clock.clone());
        let output = Output::File(directory.path().join("audit.jsonl"));
        let broker = TestBroker::start_on(cache, policy, audited.then_some(&output), |setup| {
            setup.auth.issuers = Some(issuers);
            setup.config.server.json = Some(Json { listen: ListenAddress::Tcp(ANY_PORT), hosts: Vec::new() });
            change(setup);
        });
        Self { broker, signer, client: Client::builder().no_proxy().build().unwrap(), directory }
    }

    fn url(&self) -> String {
        format!("{}/v1/credentials", self.broker.json.as_ref().unwrap())
    }

    fn token(&self) -> String {
        self.signer.token(ISSUER, SUBJECT, seconds(&*self.broker.clock))
    }

    fn get(&self, query: &str) -> RequestBuilder {
        self.client.get(format!("{}?{query}", self.url()))
    }

    /// A request of the valid caller.
    fn ask(&self, registry: &str) -> RequestBuilder {
        self.get(&format!("registry={registry}")).bearer_auth(self.token())
    }

    /// A request of an unknown path.
    fn elsewhere(&self) -> RequestBuilder {
        self.client.get(self.url().replace("/v1/", "/v2/"))
    }

    fn post(&self, body: impl Into<String>) -> RequestBuilder {
        self.client.post(self.url()).header("content-type", JSON).bearer_auth(self.token()).body(body.into())
    }

    /// Returns the records that are in the audit log. A release is there before its answer, a denial when the broker has stopped.
    fn records(&self) -> Vec<Value> {
        records_in(&self.directory)
    }

    /// Returns how many calls ended with a status of gRPC.
    fn calls(&self, code: &str) -> f64 {
        let scraped = Scraped::parse(&self.broker.exposition.encode(Format::Prometheus));
        let labels = [
            ("rpc_method", "ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials"),
            ("rpc_response_status_code", code),
        ];
        scraped.value("rpc_server_call_duration_seconds_count", &labels)
    }

    async fn stopped_records(self) -> Vec<Value> {
        self.broker.stop().await;
        records_in(&self.directory)
    }
}

fn records_in(directory: &tempfile::TempDir) -> Vec<Value> {
    let text = fs::read_to_string(directory.path().join("audit.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Allows the valid caller the registries of one account.
fn granted(account: &str) -> Policy {
    Policy::Grants(vec![Grant {
        id: "pulls".into(),
        callers: vec![CallerPattern::Token(TokenPattern {
            issuer: "blue".into(),
            subject: Some(SUBJECT.parse().unwrap()),
            claims: Vec::new(),
        })],
        registries: vec![RegistryPattern::Private {
            accounts: Accounts::Of(vec![account.parse().unwrap()]),
            regions: vec!["*".parse().unwrap()],
        }],
        profile: None,
        effect: Effect::Allow,
        max_lifetime: None,
    }])
}

#[tokio::test]
async fn p11_granted_caller_gets_flat_json_after_its_audit_record() {
    let served = Served::start_as(granted("123456789012"), true, |_| ());
    let reply = Reply::of(served.ask(HOST)).await;
    let password = reply.password();
    assert_eq!(reply.body.as_object().unwrap().keys().collect::<Vec<_>>(), FIELDS);
    assert_eq!((&reply.body["registry"], &reply.body["username"]), (&json!(HOST), &json!("AWS")));
    assert!(reply.body["refresh_after_seconds"].as_u64().unwrap() > 0, "{reply:?}");
    let config: Value = serde_json::from_str(reply.body["dockerconfigjson"].as_str().unwrap()).unwrap();
    let auth = BASE64.encode(format!("AWS:{password}").as_bytes());
    assert_eq!(config, json!({ "auths": { HOST: { "auth": auth } } }));
    let [record] = served.records().try_into().unwrap();
    for (field, value) in [("outcome", "released"), ("grant", "pulls"), ("registry", HOST)] {
        assert_eq!(record[field], value, "{field}");
    }
    assert_eq!(record["credential_id"], reply.body["credential_id"]);
    assert!(record["caller"].as_str().unwrap().contains(SUBJECT), "{record}");
    assert!(!record.to_string().contains(&password));
    let body = json!({ "registry": format!("{HOST}/team/app:v1"), "min_validity_seconds": 3_600 });
    assert_eq!(Reply::of(served.post(body.to_string())).await.password(), password, "a POST for the same registry");
    assert_eq!(served.broker.source.calls(), 1);
}

#[tokio::test]
async fn p11_answer_without_a_writable_audit_log_has_no_credential() {
    let served = Served::start_as(granted("123456789012"), true, |_| ());
    Reply::of(served.ask(HOST)).await.password();
    support::put_directory_at(&served.directory.path().join("audit.jsonl"));
    // The file is looked for at most every 100 ms.
    served.broker.clock.advance(Duration::from_millis(100));
    let refused = Reply::of(served.ask(HOST)).await;
    assert_eq!(refused.error(), (503, "AUDIT_UNAVAILABLE"));
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
}

#[tokio::test]
async fn denied_caller_gets_403_with_the_id_of_its_record() {
    let served = Served::start_as(granted("111111111111"), true, |_| ());
    let denied = Reply::of(served.ask(HOST)).await;
    assert_eq!(denied.error(), (403, "CALLER_NOT_ALLOWED"));
    let profile = Reply::of(served.get(&format!("registry={HOST}&profile=none")).bearer_auth(served.token())).await;
    assert_eq!(profile.error(), (403, "CALLER_NOT_ALLOWED"));
    assert_eq!(served.broker.source.calls(), 0);
    let [record, _] = served.stopped_records().await.try_into().unwrap();
    assert_eq!((&record["outcome"], &record["request_id"]), (&json!("denied"), &denied.body["request_id"]));
}

/// `authentication.loopback` does not count: a page in a browser on this host could call, too.
#[tokio::test]
async fn caller_without_a_valid_token_gets_401() {
    let served = Served::start_as(Policy::Open, true, |setup| setup.config.server.loopback = true);
    let query = format!("registry={HOST}");
    let of_stranger = Signer::new("k1").token(ISSUER, SUBJECT, seconds(&*served.broker.clock));
    let token = served.token();
    let get = || served.get(&query);
    for (case, request) in [
        ("no token", get()),
        ("a token of an unknown key", get().bearer_auth(of_stranger)),
        ("no JWT", get().bearer_auth("x")),
        ("another scheme", get().basic_auth("AWS", Some(&token))),
        ("two headers", get().bearer_auth(&token).bearer_auth(&token)),
        ("a token in the query", served.get(&format!("{query}&access_token={token}"))),
    ] {
        let refused = Reply::of(request).await;
        assert_eq!(refused.error(), (401, "CALLER_UNAUTHENTICATED"), "{case}");
        assert_eq!(refused.headers["www-authenticate"], "Bearer", "{case}");
    }
    assert_eq!(served.broker.source.calls(), 0);
    let records = served.stopped_records().await;
    assert!(records.iter().all(|record| record["outcome"] == "unauthenticated") && records.len() >= 4, "{records:?}");
    assert!(!records.iter().any(|record| record.to_string().contains(&token)));
}

#[tokio::test]
async fn headers_of_forwarding_brokers_are_refused() {
    let served = Served::start();
    for (name, value) in [("x-ecr-broker-caller-asserted", "uid:0,gid:0"), ("x-ecr-broker-hops", "1")] {
        let request = || served.get(&format!("registry={HOST}")).header(name, value);
        assert_eq!(Reply::of(request().bearer_auth(served.token())).await.error(), (400, "REQUEST_INVALID"), "{name}");
        assert_eq!(Reply::of(request()).await.status, 401, "{name}");
    }
    assert_eq!(served.broker.source.calls(), 0);
}

#[tokio::test]
async fn too_many_failed_attempts_get_429_and_verified_tokens_still_pass() {
    let served = Served::start_as(Policy::Open, false, |setup| {
        setup.config.limits.failures_per_second = NonZeroU32::new(1).unwrap();
    });
    // Each token has another signature, so the verified one is kept.
    let (query, verified) = (format!("registry={HOST}"), served.token());
    let right = || Reply::of(served.get(&query).bearer_auth(&verified));
    right().await.password();
    let wrong = || Reply::of(served.get(&format!("registry={HOST}")).bearer_auth("a.b.c"));
    for attempt in 0..10 {
        assert_eq!(wrong().await.error(), (401, "CALLER_UNAUTHENTICATED"), "{attempt}");
    }
    let limited = wrong().await;
    assert_eq!(limited.error(), (429, "CALLER_RATE_LIMITED"));
    let delay: u64 = limited.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert_eq!(limited.body["retry_after_seconds"], delay);
    assert!(
        served.broker.limits.check_origin(Origin::of(ANY_PORT.ip()), Attempt::Token).is_err(),
        "the gRPC port's, too"
    );
    right().await.password();
    served.broker.clock.advance(Duration::from_secs(delay));
    assert_eq!(wrong().await.error(), (401, "CALLER_UNAUTHENTICATED"), "after the delay");
}

#[tokio::test]
async fn caller_beyond_its_request_rate_gets_429() {
    let served = Served::start_as(Policy::Open, false, |setup| {
        setup.config.limits.requests_per_second = NonZeroU32::new(10).unwrap();
        setup.config.limits.local_requests_per_second = NonZeroU32::new(10).unwrap();
    });
    for _ in 0..100 {
        Reply::of(served.ask(HOST)).await.password();
    }
    let limited = Reply::of(served.ask(HOST)).await;
    assert_eq!(limited.error(), (429, "CALLER_RATE_LIMITED"));
    assert!(limited.headers.contains_key("retry-after"), "{limited:?}");
}

/// A request that cannot be read is a call, too: its caller is known and admitted before anything of it is judged.
#[tokio::test]
async fn unreadable_request_counts_against_the_rate_of_its_caller() {
    let served = Served::start_as(Policy::Open, false, |setup| {
        setup.config.limits.requests_per_second = NonZeroU32::new(10).unwrap();
        setup.config.limits.local_requests_per_second = NonZeroU32::new(10).unwrap();
    });
    let unreadable = |number: usize| match number % 4 {
        0 => served.elsewhere().bearer_auth(served.token()),
        1 => served.post("{"),
        2 => served.get("").bearer_auth(served.token()),
        _ => served.ask(HOST).header("host", "evil.example"),
    };
    for number in 0..100 {
        assert_eq!(Reply::of(unreadable(number)).await.error().1, "REQUEST_INVALID", "{number}");
    }
    for number in 0..4 {
        let limited = Reply::of(unreadable(number)).await;
        assert_eq!(limited.error(), (429, "CALLER_RATE_LIMITED"), "{number}");
        assert_eq!(limited.headers["retry-after"], *limited.body["retry_after_seconds"].to_string());
    }
    assert_eq!((served.calls("INVALID_ARGUMENT"), served.calls("RESOURCE_EXHAUSTED")), (100.0, 4.0));
}

#[tokio::test]
async fn unreadable_request_of_an_unknown_caller_gets_401_then_429() {
    let served = Served::start_as(Policy::Open, false, |setup| {
        setup.config.limits.failures_per_second = NonZeroU32::new(1).unwrap();
    });
    let unreadable = |number: usize| match number % 3 {
        0 => served.elsewhere(),
        1 => served.client.post(served.url()).body("{"),
        _ => served.get(&format!("registry={HOST}")).header("host", "evil.example"),
    };
    for number in 0..10 {
        assert_eq!(Reply::of(unreadable(number)).await.error(), (401, "CALLER_UNAUTHENTICATED"), "{number}");
    }
    for number in 0..3 {
        let limited = Reply::of(unreadable(number)).await;
        assert_eq!(limited.error(), (429, "CALLER_RATE_LIMITED"), "{number}");
        assert!(limited.headers.contains_key("retry-after"), "{limited:?}");
    }
    assert_eq!((served.calls("UNAUTHENTICATED"), served.calls("RESOURCE_EXHAUSTED")), (10.0, 3.0));
}

#[tokio::test]
async fn json_request_for_a_host_of_another_site_is_refused() {
    let served = Served::start_as(Policy::Open, false, |setup| {
        let hosts = vec!["ecr-broker.tools.svc".parse().unwrap()];
        setup.config.server.json = Some(Json { listen: ListenAddress::Tcp(ANY_PORT), hosts });
    });
    for host in ["evil.example", "localhost.evil.example", "ecr-broker.tools.svc.evil.example"] {
        let refused = Reply::of(served.ask(HOST).header("host", host)).await;
        assert_eq!(refused.error(), (421, "REQUEST_INVALID"), "{host}");
        assert!(refused.message().contains("server.json_hosts"), "{refused:?}");
    }
    for host in ["localhost:1", "[::1]", "ecr-broker.tools.svc:8443"] {
        Reply::of(served.ask(HOST).header("host", host)).await.password();
    }
}

/// A page may hold no token, but its browser could hold a client certificate.
#[tokio::test]
async fn request_of_a_browser_is_refused_whatever_it_proves() {
    let served = Served::start();
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "none"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        let elsewhere = served.elsewhere().bearer_auth(served.token());
        for request in [served.ask(HOST), served.post(format!(r#"{{"registry": "{HOST}"}}"#)), elsewhere] {
            let refused = Reply::of(request.header(name, value)).await;
            assert_eq!(refused.error(), (403, "REQUEST_INVALID"), "{name}: {value}");
            assert!(refused.message().contains("which may not call; call from a program"), "{refused:?}");
        }
        let unknown = Reply::of(served.get(&format!("registry={HOST}")).header(name, value)).await;
        assert_eq!(unknown.error(), (401, "CALLER_UNAUTHENTICATED"), "{name}: {value}");
    }
    assert_eq!(served.broker.source.calls(), 0);
    Reply::of(served.ask(HOST).header("sec-fetch-mode", "cors")).await.password();
}

#[tokio::test]
async fn malformed_requests_are_refused_without_a_call_to_the_source() {
    let served = Served::start();
    let (get, long) = (|query: &str| served.get(query).bearer_auth(served.token()), "x".repeat(9_000));
    let other = |method: Method| served.client.request(method, served.url()).bearer_auth(served.token());
    for (request, status, reason) in [
        (get(""), 400, "REQUEST_INVALID"),
        (get(&format!("registry={HOST}&registry={HOST}")), 400, "REQUEST_INVALID"),
        (get("registry=registry.example"), 400, "REGISTRY_NOT_ECR"),
        (get("registry=12.dkr.ecr.eu-central-1.amazonaws.com"), 400, "REGISTRY_INVALID"),
        (get(&format!("registry={HOST}&min_validity_seconds=43200")), 400, "VALIDITY_UNSATISFIABLE"),
        (get(&format!("registry={HOST}&profile=UPPER%20CASE")), 400, "REQUEST_INVALID"),
        (served.post("{"), 400, "REQUEST_INVALID"),
        (served.post(format!(r#"{{"registry": "{long}"}}"#)), 413, "REQUEST_INVALID"),
        (other(Method::POST).header("content-type", "text/plain").body("{}"), 415, "REQUEST_INVALID"),
        (other(Method::PUT), 405, "REQUEST_INVALID"),
        (other(Method::OPTIONS), 405, "REQUEST_INVALID"),
        (served.elsewhere().bearer_auth(served.token()), 400, "REQUEST_INVALID"),
    ] {
        let text = format!("{request:?}");
        let refused = Reply::of(request).await;
        assert_eq!(refused.error(), (status, reason), "{text}: {refused:?}");
        assert_eq!(refused.headers.contains_key("allow"), status == 405, "{refused:?}");
    }
    assert_eq!(served.broker.source.calls(), 0);
}

#[tokio::test]
async fn request_head_beyond_the_buffer_is_refused() {
    let served = Served::start();
    let reply = served.ask(HOST).header("x-long", "x".repeat(20_000)).send().await;
    assert!(reply.is_err() || reply.unwrap().status() == 431, "refused before it is read");
    Reply::of(served.ask(HOST)).await.password();
}

#[tokio::test]
async fn aws_failure_is_503_with_the_delay_of_its_backoff() {
    let served = Served::start();
    served.broker.source.fail(FailureClass::Unavailable);
    let failed = Reply::of(served.ask(HOST)).await;
    assert_eq!(failed.error(), (503, "AWS_UNAVAILABLE"));
    assert_eq!(failed.headers["retry-after"], *failed.body["retry_after_seconds"].to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_request_in_flight_finishes_while_the_listener_closes() {
    let served = Served::start();
    served.broker.source.shut();
    let (address, in_flight) = (served.url(), tokio::spawn(Reply::of(served.ask(HOST))));
    served.broker.source.until_calls(1).await;
    let source = served.broker.source.clone();
    let ended = tokio::spawn(served.broker.stop());
    let address = address.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    while tokio::net::TcpStream::connect(&address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!ended.is_finished(), "it waits for the request in flight");
    source.open();
    in_flight.await.unwrap().password();
    ended.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_waiting_request_gets_shutting_down_after_the_drain_timeout() {
    let served = Served::start_as(Policy::Open, false, |setup| {
        setup.config.server.connections.drain_timeout = Duration::from_millis(100);
    });
    served.broker.source.shut();
    let in_flight = tokio::spawn(Reply::of(served.ask(HOST)));
    served.broker.source.until_calls(1).await;
    let source = served.broker.source.clone();
    let ended = tokio::spawn(served.broker.stop());
    assert_eq!(in_flight.await.unwrap().error(), (503, "SHUTTING_DOWN"));
    source.open();
    ended.await.unwrap();
}

/// Returns a broker with the JSON API on a Unix socket, and the socket. The caller is this process's user.
fn over_unix(directory: &Path) -> (Served, PathBuf) {
    let socket = directory.join("json.sock");
    let served = Served::start_as(Policy::Open, true, |setup| {
        setup.config.server.json = Some(Json { listen: ListenAddress::Unix(socket.clone()), hosts: Vec::new() });
    });
    (served, socket)
}

/// Begins a POST whose body has some bytes more.
async fn begin_post(socket: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request =
        "POST /v1/credentials HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn body_that_does_not_arrive_gets_408_and_ends_its_connection() {
    let directory = tempfile::tempdir().unwrap();
    let (served, socket) = over_unix(directory.path());
    let mut stream = begin_post(&socket).await;
    let (began, mut reply) = (Instant::now(), String::new());
    stream.read_to_string(&mut reply).await.unwrap();
    assert!((Duration::from_secs(5)..Duration::from_secs(20)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!(reply.starts_with("HTTP/1.1 408 ") && reply.contains("body: incomplete after 6 s"), "{reply}");
    assert_eq!((served.calls("INVALID_ARGUMENT"), served.broker.limits.status().requests.used), (1.0, 0));
}

/// Other connections of the origin hold all but a little of its memory. The one with the late body is the largest.
#[tokio::test]
async fn connection_that_the_memory_limit_chooses_is_closed() {
    const ORIGIN_BYTES: usize = 8 * 1024 * 1024;
    let directory = tempfile::tempdir().unwrap();
    let (served, socket) = over_unix(directory.path());
    let memory = served.broker.limits.request_memory();
    let origin = Origin::Uid(rustix::process::getuid().as_raw());
    let others: Vec<_> = (0..ORIGIN_BYTES / 8_192).map(|_| memory.enter(origin)).collect();
    let held: Vec<_> = others.iter().map(|other| other.hold(8_192)).collect();
    let mut stream = begin_post(&socket).await;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert_eq!(reply, "", "no answer, not even 408");
    assert!(!others.iter().any(ConnectionMemory::is_closing));
    drop(held);
    let used = || served.broker.limits.status().requests.used;
    while used() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!((served.calls("CANCELLED"), served.calls("INVALID_ARGUMENT")), (1.0, 0.0));
}

#[tokio::test]
async fn caller_that_disconnects_leaves_no_admission_and_no_release() {
    let directory = tempfile::tempdir().unwrap();
    let (served, socket) = over_unix(directory.path());
    served.broker.source.shut();
    let mut stream = UnixStream::connect(&socket).await.unwrap();
    let request = format!("GET /v1/credentials?registry={HOST} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    served.broker.source.until_calls(1).await;
    let used = || served.broker.limits.status().requests.used;
    assert_eq!(used(), 1);
    drop(stream);
    while used() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!((served.calls("CANCELLED"), served.calls("OK")), (1.0, 0.0));
    served.broker.source.open();
    let records = served.stopped_records().await;
    assert!(records.is_empty(), "{records:?}");
}

#[tokio::test]
async fn unix_socket_caller_is_its_user_and_needs_no_host() {
    let directory = tempfile::tempdir().unwrap();
    let (served, socket) = over_unix(directory.path());
    assert_eq!(served.broker.json.as_deref(), Some(&*format!("unix:{}", socket.display())));
    let mut stream = UnixStream::connect(&socket).await.unwrap();
    let request = format!("GET /v1/credentials?registry={HOST} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.contains("\"password\":"), "{reply}");
    let user = Caller::process(rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()).unwrap();
    assert_eq!(served.records()[0]["caller"], user.to_string());
}

/// Returns a client that trusts `ca` and finds the broker at an address.
fn tls_client(ca: &Authority, address: SocketAddr, identity: Option<Identity>) -> Client {
    let root = Certificate::from_pem(ca.pem().as_bytes()).unwrap();
    let client = Client::builder().no_proxy().tls_certs_only([root]).resolve(BROKER, address);
    identity.into_iter().fold(client, reqwest::ClientBuilder::identity).build().unwrap()
}

fn tls(ca: &Authority, directory: &Path, clock: std::sync::Arc<support::ManualClock>) -> Tls {
    let (certificate, key) = ca.server().write(directory, "server");
    let trust_domains = [("a.example".parse().unwrap(), ca.file.clone())].into();
    let (dns_names, revocations) = Default::default();
    Tls::load(TlsSettings { certificate, key, trust_domains, dns_names, revocations }, clock).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_caller_is_known_by_its_token_or_its_certificate() {
    let (keys, cache) = (tempfile::tempdir().unwrap(), TestCache::new());
    let (ca, signer) = (Authority::new(keys.path(), "ca.pem", "a"), Signer::new("k1"));
    let (issuers, tls) =
        (issuers(&signer, keys.path(), cache.clock.clone()), tls(&ca, keys.path(), cache.clock.clone()));
    let audit = keys.path().join("audit.jsonl");
    let broker = TestBroker::start_on(cache, Policy::Open, Some(&Output::File(audit.clone())), |setup| {
        (setup.auth.issuers, setup.auth.tls) = (Some(issuers), Some(tls.into()));
        let hosts = vec![BROKER.parse().unwrap()];
        setup.config.server.json = Some(Json { listen: ListenAddress::Tcp(ANY_PORT), hosts });
    });
    let address: SocketAddr = broker.json.as_ref().unwrap().strip_prefix("https://").unwrap().parse().unwrap();
    let url = format!("https://{BROKER}:{}/v1/credentials?registry={HOST}", address.port());
    let token = signer.token(ISSUER, SUBJECT, seconds(&*broker.clock));
    let stranger = tls_client(&ca, address, None);
    assert_eq!(Reply::of(stranger.get(&url)).await.error(), (401, "CALLER_UNAUTHENTICATED"));
    Reply::of(stranger.get(&url).bearer_auth(&token)).await.password();
    let pair = ca.workload(RUNNER);
    let identity = Identity::from_pem(format!("{}{}", pair.key, pair.certificate).as_bytes()).unwrap();
    let workload = tls_client(&ca, address, Some(identity));
    Reply::of(workload.get(&url)).await.password();
    // The certificate and the token name different callers.
    assert_eq!(Reply::of(workload.get(&url).bearer_auth(&token)).await.error(), (401, "CALLER_UNAUTHENTICATED"));
    let plain = Client::builder().no_proxy().build().unwrap();
    let plain = plain.get(format!("http://{address}/v1/credentials?registry={HOST}")).bearer_auth(&token).send().await;
    assert_eq!(plain.unwrap().status(), 400, "HTTP without TLS");
    let records = fs::read_to_string(audit).unwrap();
    let callers: Vec<_> = records.lines().filter(|line| line.contains("\"released\"")).collect();
    assert!(callers.len() == 2 && callers[0].contains(SUBJECT) && callers[1].contains(RUNNER), "{records}");
}

#[test]
fn p13_json_api_is_refused_where_it_would_be_open() {
    let listen = |address: &str| {
        let environment = [("ECR_BROKER_SERVER_JSON_LISTEN", address), ("AWS_EC2_METADATA_DISABLED", "true")];
        run(&SERVE_SIMULATED, &environment)
    };
    for (address, problem) in [
        ("0.0.0.0:0", "is reachable from other hosts without encryption"),
        ("127.0.0.1:0", "cannot identify its callers; add [[authentication.jwt]]"),
    ] {
        let ended = listen(address);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{address}: {}", ended.stderr);
        assert!(ended.error().contains("server.json_listen") && ended.error().contains(problem), "{}", ended.stderr);
    }
}

/// The program itself: off by default, and its address is printed.
#[tokio::test]
async fn program_serves_json_only_where_it_is_configured() {
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("json.sock").display());
    let broker = Server::start(&SERVE_SIMULATED, &[]);
    assert!(!broker.stop().contains("json+"));
    let environment = [("ECR_BROKER_SERVER_JSON_LISTEN", socket.as_str())];
    let (broker, at) = Server::start_with_second("json+", &SERVE_SIMULATED, &environment);
    assert_eq!(at, socket);
    let mut stream = tokio::net::UnixStream::connect(at.strip_prefix("unix:").unwrap()).await.unwrap();
    let request = format!("GET /v1/credentials?registry={HOST} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.contains("\"dockerconfigjson\":"), "{reply}");
    broker.stop();
}
