//! The ops listener: health for probes, under overload and while draining, against hostile peers and foreign websites.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod certificates;
mod program;
mod support;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use certificates::{Authority, BROKER};
use ecr_broker::address::ListenAddress;
use ecr_broker::config::Ops;
use ecr_broker::source::SourceStatus;
use program::{SERVE_SIMULATED, Server, activated, program, run, signal};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use support::*;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// Limit for a slow peer to be disconnected, and for a state to change, on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);
const CSP: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reply {
    status: u16,
    headers: HashMap<String, String>,
    body: String,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no reply: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Self { status, headers: lines.filter_map(header).collect(), body: body.to_owned() }
    }

    fn text(&self) -> (u16, &str) {
        (self.status, &self.body)
    }
}

/// A request with the headers of `curl`.
fn request_text(method: &str, target: &str, host: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\naccept: */*\r\nconnection: close\r\n\r\n")
}

/// Sends a request over a connection and reads until its end.
async fn exchange(mut io: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Reply {
    // A request may be refused before it is sent.
    _ = io.write_all(request.as_bytes()).await;
    Reply::parse(&rest(&mut io).await)
}

/// Reads until the end.
async fn rest(io: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    _ = timeout(LIMIT, io.read_to_end(&mut bytes)).await.expect("the end of the connection");
    bytes
}

async fn send(address: &str, request: &str) -> Reply {
    exchange(TcpStream::connect(address).await.unwrap(), request).await
}

async fn get(address: &str, target: &str) -> Reply {
    send(address, &request_text("GET", target, address)).await
}

/// Waits until a page answers with this status.
async fn until(address: &str, target: &str, status: u16) -> Reply {
    let wait = async {
        loop {
            let reply = get(address, target).await;
            if reply.status == status {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, wait).await.expect("the status")
}

/// Returns a broker in this process with an ops listener.
fn broker_with_ops(change: impl FnOnce(&mut Setup)) -> (TestBroker, String) {
    let broker = TestBroker::start_with(|setup| {
        let listen = ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        setup.config.server.ops = Some(Ops { listen, hosts: Vec::new(), allow_plaintext: false });
        change(setup);
    });
    let address = broker.ops.clone().unwrap().strip_prefix("ops+http://").unwrap().to_owned();
    (broker, address)
}

#[tokio::test]
async fn pages_answer_get_and_head_and_nothing_else() {
    let (server, ops) = Server::start_with_ops(&SERVE_SIMULATED, &[]);
    until(&ops, "/readyz", 200).await;
    for (target, status, body) in [
        ("/livez", 200, "ok\n"),
        ("/livez?verbose", 200, "ok\n"),
        ("/readyz", 200, "ok\n"),
        ("/readyz?exclude=x", 200, "ok\n"),
        ("/", 404, "not found\n"),
        ("/livez/", 404, "not found\n"),
        ("/LIVEZ", 404, "not found\n"),
        ("/%6civez", 404, "not found\n"),
        ("//livez", 404, "not found\n"),
        ("/../livez", 404, "not found\n"),
        ("/t/secret", 404, "not found\n"),
    ] {
        let by_get = get(&ops, target).await;
        assert_eq!(by_get.text(), (status, body), "{target}");
        let length = body.len().to_string();
        for (name, value) in [
            ("content-type", "text/plain; charset=utf-8"),
            ("content-security-policy", CSP),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("cross-origin-resource-policy", "same-origin"),
            ("content-length", &length),
        ] {
            assert_eq!(by_get.headers.get(name).map(String::as_str), Some(value), "{target} {name}");
        }
        assert!(!by_get.headers.keys().any(|name| name.starts_with("access-control-")), "{by_get:?}");
        let by_head = send(&ops, &request_text("HEAD", target, &ops)).await;
        assert_eq!((by_head.text(), &by_head.headers["content-length"]), ((status, ""), &length), "{target}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "WHATEVER"] {
        let target = if method == "CONNECT" { ops.as_str() } else { "/livez" };
        let refused = send(&ops, &request_text(method, target, &ops)).await;
        assert_eq!(refused.text(), (405, "only GET and HEAD are allowed\n"), "{method}");
        assert_eq!(refused.headers["allow"], "GET, HEAD");
    }
    server.stop();
}

#[tokio::test]
async fn readyz_lists_its_checks() {
    let (server, ops) = Server::start_with_ops(&SERVE_SIMULATED, &[]);
    until(&ops, "/readyz", 200).await;
    let all = "[+]configuration ok\n[+]aws_identity ok\n[+]keep_warm ok\n[+]shutdown ok\nreadyz check passed\n";
    for target in ["/readyz?verbose", "/readyz?verbose=1", "/readyz?x&verbose"] {
        assert_eq!(get(&ops, target).await.text(), (200, all), "{target}");
    }
    server.stop();
}

#[tokio::test]
async fn metrics_are_exposed_in_both_formats() {
    let (server, ops) = Server::start_with_ops(&SERVE_SIMULATED, &[]);
    let open_metrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    for (accept, content_type, end) in [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", "\n"),
        ("application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1", open_metrics, "# EOF\n"),
    ] {
        let request = format!("GET /metrics HTTP/1.1\r\nhost: {ops}\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
        let reply = send(&ops, &request).await;
        assert_eq!((reply.status, reply.headers["content-type"].as_str()), (200, content_type));
        assert_eq!(reply.headers["content-security-policy"], CSP);
        assert!(reply.body.contains("\necr_broker_build_info{") && reply.body.ends_with(end), "{}", reply.body);
    }
    let head = send(&ops, &request_text("HEAD", "/metrics", &ops)).await;
    assert_eq!(head.text(), (200, ""));
    server.stop();
}

#[tokio::test]
async fn host_of_another_site_is_refused() {
    let environment = [("ECR_BROKER_SERVER_OPS_HOSTS", "broker.corp.example")];
    let (server, ops) = Server::start_with_ops(&SERVE_SIMULATED, &environment);
    let port = ops.rsplit(':').next().unwrap();
    for host in ["localhost", "127.0.0.1", "10.9.8.7", "[::1]", "broker.corp.example"] {
        let request = request_text("GET", "/livez", &format!("{host}:{port}"));
        assert_eq!(send(&ops, &request).await.text(), (200, "ok\n"), "{host}");
    }
    let problem = "unknown host; use an IP address or localhost, or add the name to server.ops_hosts\n";
    for host in ["evil.example", "localhost.evil.example", "evil.example:80", "[::1", "a b"] {
        for target in ["/livez", "/status", "/nothing"] {
            let refused = send(&ops, &request_text("GET", target, host)).await;
            assert_eq!(refused.text(), (421, problem), "{host} {target}");
            assert_eq!(refused.headers["content-security-policy"], CSP);
        }
    }
    let without = send(&ops, "GET /livez HTTP/1.0\r\n\r\n").await;
    assert_eq!(without.text(), (200, "ok\n"), "a health check in HTTP/1.0");
    server.stop();
}

#[tokio::test]
async fn unix_socket_needs_no_host() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("ops.sock");
    let listen = format!("unix:{}", socket.display());
    let environment = [("ECR_BROKER_SERVER_OPS_LISTEN", listen.as_str())];
    let (server, printed) = Server::start_with_second("ops+unix:", &SERVE_SIMULATED, &environment);
    assert_eq!(printed, socket.display().to_string());
    let request = request_text("GET", "/livez", "anything");
    assert_eq!(exchange(UnixStream::connect(&socket).await.unwrap(), &request).await.text(), (200, "ok\n"));
    server.stop();
    assert!(!socket.exists(), "removed at the shutdown");
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_waits_for_an_identity_and_then_keeps_it() {
    let (broker, ops) = broker_with_ops(|_| ());
    until(&ops, "/readyz", 200).await;
    broker.stop().await;

    let cache = TestCache::new();
    cache.source.set_status(SourceStatus::NoCredentials);
    let source = cache.source.clone();
    let broker = TestBroker::start_on(cache, ecr_broker::policy::Policy::Open, None, |setup| {
        let listen = ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        setup.config.server.ops = Some(Ops { listen, hosts: Vec::new(), allow_plaintext: false });
    });
    let ops = broker.ops.clone().unwrap().strip_prefix("ops+http://").unwrap().to_owned();
    let unready = until(&ops, "/readyz", 503).await;
    assert!(unready.body.contains("[-]aws_identity failed: no AWS identity found so far\n"), "{unready:?}");
    assert_eq!(get(&ops, "/livez").await.text(), (200, "ok\n"), "alive without AWS");
    source.set_status(SourceStatus::Ready);
    until(&ops, "/readyz", 200).await;
    source.set_status(SourceStatus::NoCredentials);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(get(&ops, "/readyz").await.text(), (200, "ok\n"), "an outage of AWS");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_waits_for_keep_warm() {
    let cache = TestCache::new();
    cache.source.shut();
    let source = cache.source.clone();
    let broker = TestBroker::start_on(cache, ecr_broker::policy::Policy::Open, None, |setup| {
        let listen = ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        setup.config.server.ops = Some(Ops { listen, hosts: Vec::new(), allow_plaintext: false });
        setup.config.keep_warm = vec![HOST.parse().unwrap()];
    });
    let ops = broker.ops.clone().unwrap().strip_prefix("ops+http://").unwrap().to_owned();
    source.until_calls(1).await;
    let unready = get(&ops, "/readyz").await;
    assert_eq!(unready.status, 503);
    assert!(unready.body.contains("[-]keep_warm failed: cache.keep_warm is not filled yet\n"), "{unready:?}");
    source.open();
    until(&ops, "/readyz", 200).await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_ops_listener_answers_until_the_callers_have_drained() {
    let (broker, ops) = broker_with_ops(|_| ());
    until(&ops, "/readyz", 200).await;
    broker.source.shut();
    let mut client = broker.client().await;
    let in_flight = tokio::spawn(async move { client.get_registry_credentials(request(HOST)).await });
    broker.source.until_calls(1).await;
    let (source, tcp) = (broker.source.clone(), broker.tcp);
    let ended = tokio::spawn(broker.stop());
    while TcpStream::connect(tcp).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let draining = get(&ops, "/readyz").await;
    assert_eq!(draining.status, 503);
    assert!(draining.body.contains("[-]shutdown failed: the broker is shutting down\n"), "{draining:?}");
    assert_eq!(get(&ops, "/livez").await.text(), (200, "ok\n"));
    assert!(!ended.is_finished(), "it waits for the call in flight");
    source.open();
    in_flight.await.unwrap().unwrap();
    timeout(LIMIT, ended).await.unwrap().unwrap();
    assert!(TcpStream::connect(&ops).await.is_err(), "closed at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_broker_accepts_callers_during_the_drain_delay() {
    let (broker, ops) = broker_with_ops(|setup| setup.config.server.connections.drain_delay = LIMIT);
    until(&ops, "/readyz", 200).await;
    let mut open = broker.client().await;
    open.get_registry_credentials(request(HOST)).await.unwrap();
    let channel = format!("http://{}", broker.tcp);
    let ended = tokio::spawn(broker.stop());
    until(&ops, "/readyz", 503).await;
    open.get_registry_credentials(request(HOST)).await.unwrap();
    Client::connect(channel).await.unwrap().get_registry_credentials(request(HOST)).await.unwrap();
    assert!(!ended.is_finished());
    ended.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_program_answers_probes_until_its_last_call_has_ended() {
    let (mut server, ops) = Server::start_with_ops(
        &[&SERVE_SIMULATED[..], &["--simulate-fault", "hang=1"]].concat(),
        &[("ECR_BROKER_SERVER_DRAIN_DELAY", "1s")],
    );
    until(&ops, "/readyz", 200).await;
    let mut client = Client::connect(server.address.replace("grpc://", "http://")).await.unwrap();
    signal(server.pid(), "TERM");
    until(&ops, "/readyz", 503).await;
    // Within the delay, and AWS does not answer it for seconds.
    let in_flight = tokio::spawn(async move { client.get_registry_credentials(request(HOST)).await.map(drop) });
    let callers = server.address.strip_prefix("grpc://").unwrap();
    while TcpStream::connect(callers).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(get(&ops, "/livez").await.text(), (200, "ok\n"), "the callers' listener is closed");
    assert_eq!(get(&ops, "/metrics").await.status, 200);
    assert_eq!(in_flight.await.unwrap().unwrap_err().code(), tonic::Code::Unavailable, "AWS hangs");
    assert!(server.wait().success());
}

#[test]
fn p9_second_signal_ends_the_drain_delay_at_once() {
    let mut server = Server::start(&SERVE_SIMULATED, &[("ECR_BROKER_SERVER_DRAIN_DELAY", "10m")]);
    signal(server.pid(), "TERM");
    server.until_logged("shutdown started");
    signal(server.pid(), "TERM");
    assert_eq!(server.wait().code(), Some(130));
}

#[tokio::test]
async fn ops_listener_takes_its_activated_socket() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ops = socket.local_addr().unwrap().to_string();
    let mut command = program(&[("ECR_BROKER_SERVER_OPS_LISTEN", &ops)]);
    command.args(SERVE_SIMULATED);
    let server = Server::spawn_logging(activated(&command, socket));
    assert!(server.address.starts_with("grpc://") && !server.address.ends_with(&ops), "{}", server.address);
    assert_eq!(get(&ops, "/livez").await.text(), (200, "ok\n"));
    server.stop();
}

#[test]
fn p13_plaintext_beyond_loopback_is_refused_at_the_start() {
    let environment = [("ECR_BROKER_SERVER_OPS_LISTEN", "0.0.0.0:0")];
    let refused = run(&SERVE_SIMULATED, &environment);
    let problem = "server.ops_listen: 0.0.0.0:0 is reachable from other hosts without encryption; set server.tls, or \
                   server.ops_allow_plaintext = true";
    assert!(refused.code == 1 && refused.stderr.contains(problem), "{refused:?}");
}

#[tokio::test]
async fn status_beyond_loopback_is_refused_without_an_operator() {
    let environment =
        [("ECR_BROKER_SERVER_OPS_LISTEN", "0.0.0.0:0"), ("ECR_BROKER_SERVER_OPS_ALLOW_PLAINTEXT", "true")];
    let (server, address) = Server::start_with_second("ops+http://", &SERVE_SIMULATED, &environment);
    let ops = address.replace("0.0.0.0", "127.0.0.1");
    assert_eq!(get(&ops, "/livez").await.text(), (200, "ok\n"));
    for target in ["/status", "/status.json", "/status?sort=x"] {
        let forbidden = "forbidden; present a client certificate with an operator grant\n";
        assert_eq!(get(&ops, target).await.text(), (403, forbidden), "{target}");
    }
    server.stop();
}

/// Sends a request over TLS, without a client certificate.
async fn send_tls(address: &str, root: &str, request: &str) -> Reply {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(ServerName::try_from(BROKER).unwrap(), stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    exchange(stream, request).await
}

#[tokio::test]
async fn ops_listener_beyond_loopback_speaks_tls_to_all_and_has_no_status() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "ca.pem", "authority");
    let (certificate, key) = authority.server().write(directory.path(), "server");
    let ca = format!("{{ \"a.example\" = \"{}\" }}", authority.file.display());
    let environment = [
        ("ECR_BROKER_SERVER_TLS_CERTIFICATE", certificate.to_str().unwrap()),
        ("ECR_BROKER_SERVER_TLS_KEY", key.to_str().unwrap()),
        ("ECR_BROKER_AUTHENTICATION_CLIENT_CA", &ca),
        ("ECR_BROKER_SERVER_OPS_LISTEN", "0.0.0.0:0"),
        ("ECR_BROKER_SERVER_OPS_HOSTS", BROKER),
    ];
    let (server, address) = Server::start_with_second("ops+https://", &SERVE_SIMULATED, &environment);
    let ops = address.replace("0.0.0.0", "127.0.0.1");
    for (target, status) in [("/livez", 200), ("/metrics", 200), ("/status", 403), ("/status.json", 403)] {
        let reply = send_tls(&ops, &authority.pem(), &request_text("GET", target, BROKER)).await;
        assert_eq!(reply.status, status, "{target}");
    }
    assert_eq!(send_tls(&ops, &authority.pem(), &request_text("GET", "/livez", "evil.example")).await.status, 421);
    let mut plaintext = TcpStream::connect(&ops).await.unwrap();
    plaintext.write_all(request_text("GET", "/livez", BROKER).as_bytes()).await.unwrap();
    let answer = rest(&mut plaintext).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("speaks TLS, not plaintext"), "{answer}");
    server.stop();

    let loopback = [&environment[..3], &[("ECR_BROKER_SERVER_OPS_LISTEN", "127.0.0.1:0")]].concat();
    let (server, ops) = Server::start_with_second("ops+http://", &SERVE_SIMULATED, &loopback);
    assert_eq!(get(&ops, "/livez").await.text(), (200, "ok\n"), "plaintext on loopback");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn ops_listener_answers_while_every_connection_is_taken() {
    let environment = [("ECR_BROKER_SERVER_MAX_CONNECTIONS", "4"), ("ECR_BROKER_LIMITS_UNPROVED_CONNECTIONS", "4")];
    let (server, ops) = Server::start_with_ops(&SERVE_SIMULATED, &environment);
    let callers = server.address.strip_prefix("grpc://").unwrap().to_owned();
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(TcpStream::connect(&callers).await.unwrap());
    }
    assert_eq!(get(&ops, "/livez").await.text(), (200, "ok\n"), "callers hold all of theirs");
    for _ in 0..400 {
        let mut stream = TcpStream::connect(&ops).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        held.push(stream);
    }
    for _ in 0..20 {
        assert_eq!(get(&ops, "/livez").await.text(), (200, "ok\n"), "peers hold the connections of the ops listener");
    }
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_peers_of_the_ops_listener_are_bounded() {
    let (server, ops) = Server::start_with_ops(&SERVE_SIMULATED, &[]);
    let before = server.memory_mb();
    let mut huge = String::from("GET /livez HTTP/1.1\r\nhost: localhost\r\n");
    for number in 0..2_000 {
        write!(huge, "x-{number}: {}\r\n", "x".repeat(100)).unwrap();
    }
    let refused = send(&ops, &(huge + "\r\n")).await;
    assert_eq!(refused.status, 431, "{refused:?}");

    // A peer that sends its head slowly, or nothing.
    let mut slow = TcpStream::connect(&ops).await.unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost: local").await.unwrap();
    let mut silent = TcpStream::connect(&ops).await.unwrap();
    _ = tokio::join!(rest(&mut slow), rest(&mut silent));

    // Pipelined requests are answered in order, and a body that never comes holds up no answer.
    let pipelined =
        "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100) + &request_text("GET", "/x", "localhost");
    let mut stream = TcpStream::connect(&ops).await.unwrap();
    stream.write_all(pipelined.as_bytes()).await.unwrap();
    let answers = String::from_utf8(rest(&mut stream).await).unwrap();
    assert_eq!((answers.matches("HTTP/1.1 200 OK").count(), answers.matches("HTTP/1.1 404").count()), (100, 1));
    let body = "GET /livez HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000\r\n\r\n";
    assert_eq!(send(&ops, body).await.text(), (200, "ok\n"));

    // A peer that asks on and never reads.
    let mut deaf = TcpStream::connect(&ops).await.unwrap();
    let requests = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1_000);
    let flood = async { while deaf.write_all(requests.as_bytes()).await.is_ok() {} };
    timeout(LIMIT, flood).await.expect("a write that fails once the broker has given up");

    for garbage in ["\0\0\0\0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        let mut stream = TcpStream::connect(&ops).await.unwrap();
        stream.write_all(garbage.as_bytes()).await.unwrap();
        let answer = String::from_utf8_lossy(&rest(&mut stream).await).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{garbage:?}: {answer:?}");
    }
    assert_eq!(get(&ops, "/livez").await.text(), (200, "ok\n"));
    let after = server.peak_memory_mb();
    println!("{before} MB before, {after} MB at most");
    assert!(after < before + 60, "{before} MB before, {after} MB at most");
    server.stop();
}
