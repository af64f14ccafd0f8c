//! Attacks by peers that prove nothing, on the real program with default settings and 128 MB of memory.
//!
//! Honest callers run beside each attack. Each test prints what it reached, for `docs/security.md`.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod attack;
mod certificates;
mod program;
mod raw_frames;
mod support;
mod tokens;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use attack::{MemoryCgroup, Scene, Setup, attacker};
use ecr_broker::clock::SystemClock;
use ecr_broker::pb;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use hyper_util::rt::TokioIo;
use proxy_header::{ProxiedAddress, ProxyHeader};
use raw_frames::*;
use support::Client;
use tokens::{AUDIENCE, ISSUER, Signer, bearing, seconds};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

const HEALTH: &str = "/grpc.health.v1.Health/Check";
const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";
/// Handshakes at once. More would only wait for a processor.
const AT_ONCE: usize = 32;

type Stranger = Raw<TlsStream<TcpStream>>;

/// Connects `each` peers that prove nothing from each of `addresses` addresses. The broker may have closed some of them.
async fn strangers(scene: &Scene, addresses: u8, each: usize) -> Vec<Stranger> {
    let sources = (0..each).flat_map(|_| (1..=addresses).map(attacker));
    let connect = async |source: Ipv4Addr| Raw::try_open_over(scene.try_tls(source).await.ok()?, &[]).await.ok();
    stream::iter(sources.map(connect)).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await
}

/// Sends the same frames on each connection, and then reads for `time`. Returns the connections that are still open.
async fn send_all(peers: Vec<Stranger>, frames: &[u8], time: Duration) -> Vec<Stranger> {
    let send = async |mut peer: Stranger| {
        peer.write(frames).await.ok()?;
        let reading = async { while peer.read_and_answer().await.is_ok() {} };
        timeout(time, reading).await.is_err().then_some(peer)
    };
    join_all(peers.into_iter().map(send)).await.into_iter().flatten().collect()
}

/// Sends frames on each of many new connections, and prints what is left of these after `time`.
async fn attack_by(scene: &Scene, (addresses, each): (u8, usize), name: &str, frames: &[u8], time: Duration) {
    let began = Instant::now();
    let peers = strangers(scene, addresses, each).await;
    let connected = peers.len();
    let open = send_all(peers, frames, time).await.len();
    let (after, memory) = (began.elapsed(), scene.broker.memory_mb());
    println!("{name}: {connected} connections, {open} open after {after:.0?}, {memory} MB");
}

/// A call whose message lacks its last bytes.
fn almost_a_message(path: &str, stream: u32, bytes: usize) -> Vec<u8> {
    let length = u32::try_from(bytes + 5).unwrap().to_be_bytes();
    let message = [&[0], &length[..], &vec![b'x'; bytes]].concat();
    let frames = message.chunks(16_000).flat_map(|part| frame(DATA, 0, stream, part));
    frame(HEADERS, END_HEADERS, stream, &call(path)).into_iter().chain(frames).collect()
}

fn calls(path: &str, fields: &[u8]) -> Vec<u8> {
    let block = [call(path), fields.to_vec()].concat();
    streams().flat_map(|stream| frame(HEADERS, END_HEADERS, stream, &block)).collect()
}

/// The harness itself: a process above the limit is killed, and the broker is within a cgroup wherever that works.
#[tokio::test(flavor = "multi_thread")]
async fn memory_limit_of_the_harness_ends_a_process_that_exceeds_it() {
    let scene = Scene::start(Setup::default()).await;
    drop(scene.stranger(attacker(1)).await);
    scene.end("no attack", "one connection").await;
    let Some(cgroup) = MemoryCgroup::create(32 * 1024 * 1024) else { return };
    let mut greedy = std::process::Command::new("sh");
    greedy.args(["-c", "x=x; while true; do x=$x$x; done"]);
    let status = cgroup.within(&greedy).status().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
}

/// Messages of 64 KB that lack five bytes, for calls that need a caller and for a health check.
async fn unfinished_messages(addresses: u8, each: usize) {
    let scene = Scene::start(Setup::default()).await;
    for path in [GET, BATCH, HEALTH] {
        let message = almost_a_message(path, 1, 65_000);
        attack_by(&scene, (addresses, each), path, &message, Duration::from_secs(3)).await;
    }
    scene.end("messages without an end", &format!("{} connections", usize::from(addresses) * each)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_without_an_end_take_no_memory_from_others() {
    unfinished_messages(4, 64).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "connects 4,096 peers: cargo test --test hostile_strangers -- --ignored"]
async fn messages_without_an_end_of_sixteen_addresses() {
    unfinished_messages(16, 256).await;
}

/// The start of a TLS handshake: records of a client hello of 65,000 bytes, of which `bytes` are sent.
fn part_of_a_client_hello(bytes: usize) -> Vec<u8> {
    let hello = [&[1, 0, 0xfd, 0xe8][..], &vec![b'x'; bytes - 4]].concat();
    let record = |part: &[u8]| [&[22, 3, 1], &u16::try_from(part.len()).unwrap().to_be_bytes()[..], part].concat();
    hello.chunks(16_000).flat_map(record).collect()
}

/// Handshakes that lack an end, and how many of them are open after a second. The broker ends all after 5 s.
async fn unfinished_handshakes(scene: &Scene, (first, each): (u8, usize), bytes: usize) -> (usize, usize) {
    let sources = (0..each).flat_map(|_| (first..first + 16).map(attacker));
    let hello = part_of_a_client_hello(bytes);
    let send = async |source: Ipv4Addr| {
        let mut stream = attack::connect_from(source, scene.address()).await.ok()?;
        stream.write_all(&hello).await.ok()?;
        Some(stream)
    };
    let peers: Vec<_> =
        stream::iter(sources.map(send)).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
    let made = peers.len();
    let is_open = async |mut peer: TcpStream| timeout(Duration::from_secs(1), peer.read(&mut [0; 16])).await.is_err();
    let open = join_all(peers.into_iter().map(is_open)).await.into_iter().filter(|is_open| *is_open).count();
    (made, open)
}

/// Handshakes above their longest, then as many just below it as the limit of unproved connections admits.
/// Returns how many of the latter are open after a second.
async fn long_handshakes(each: usize) -> usize {
    let scene = Scene::start(Setup::default()).await;
    let (made, open) = unfinished_handshakes(&scene, (1, each), 64_000).await;
    println!("64 KB: {made} connections, {open} open, {} MB", scene.broker.memory_mb());
    assert_eq!(open, 0);
    let (made, open) = unfinished_handshakes(&scene, (17, each), 31_000).await;
    println!("31 KB: {made} connections, {open} open, {} MB", scene.broker.memory_mb());
    let log = scene.end("long handshakes", &format!("{} connections, {open} open after 1 s", 16 * each)).await;
    assert!(log.contains("too much memory without authentication"));
    open
}

#[tokio::test(flavor = "multi_thread")]
async fn long_handshakes_take_bounded_memory() {
    let open = long_handshakes(48).await;
    assert!(open <= 16 * 1024 * 1024 / 31_000, "{open}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "connects 4,096 peers: cargo test --test hostile_strangers -- --ignored"]
async fn long_handshakes_of_sixteen_addresses() {
    long_handshakes(256).await;
}

/// 430 header fields in 16 KiB, and the most that are let in, each on 100 streams.
async fn many_headers(addresses: u8, each: usize) {
    let scene = Scene::start(Setup::default()).await;
    let small = |count: usize| block(&vec![("a", "b"); count]);
    let large = block(&vec![("x", "y".repeat(180).as_str()); 50]);
    for (name, path, fields) in
        [("430 fields", HEALTH, small(430)), ("56 fields", HEALTH, small(56)), ("9 KB", HEALTH_WATCH, large)]
    {
        attack_by(&scene, (addresses, each), name, &calls(path, &fields), Duration::from_secs(3)).await;
    }
    scene.end("headers", &format!("{} connections of 100 calls", usize::from(addresses) * each)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_calls_that_wait_take_bounded_memory() {
    many_headers(4, 32).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "connects 4,096 peers: cargo test --test hostile_strangers -- --ignored"]
async fn headers_of_calls_of_sixteen_addresses() {
    many_headers(16, 256).await;
}

/// Reflection and health watches, 100 on each connection.
async fn endless_streams(addresses: u8, each: usize) {
    let scene = Scene::start(Setup::default()).await;
    for path in [REFLECTION, HEALTH_WATCH] {
        // The messages never come for reflection.
        let messages = streams().filter(|_| path == HEALTH_WATCH);
        let messages: Vec<_> = messages.flat_map(|stream| frame(DATA, 0, stream, &[0; 5])).collect();
        let frames = [calls(path, &[]), messages].concat();
        attack_by(&scene, (addresses, each), path, &frames, Duration::from_secs(4)).await;
    }
    scene.end("endless streams", &format!("{} connections of 100 calls", usize::from(addresses) * each)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_streams_without_proof_take_bounded_memory() {
    endless_streams(4, 32).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "connects 4,096 peers: cargo test --test hostile_strangers -- --ignored"]
async fn endless_streams_of_sixteen_addresses() {
    endless_streams(16, 256).await;
}

/// Connections that send nothing but acknowledgements.
async fn silent_connections(each: usize) {
    let scene = Scene::start(Setup::default()).await;
    let began = Instant::now();
    let peers = strangers(&scene, 16, each).await;
    let (connected, after) = (peers.len(), began.elapsed());
    scene.more_honest_calls(20).await;
    let descriptors = scene.broker.descriptors();
    let open = send_all(peers, &[], Duration::from_secs(13)).await.len();
    let figure = format!(
        "{connected} connections in {after:.1?}, {descriptors} descriptors then, {open} connections open 13 s later"
    );
    let log = scene.end("silent connections", &figure).await;
    assert_eq!(open, 0);
    assert!(descriptors < 1_200, "{descriptors}");
    let warned = log.matches("too many without authentication").count();
    assert!((1..=2).contains(&warned) && log.contains("limits.unproved_connections"), "{warned}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_take_no_place_from_others_and_end() {
    silent_connections(64).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "connects 4,096 peers: cargo test --test hostile_strangers -- --ignored"]
async fn silent_connections_of_sixteen_addresses() {
    silent_connections(256).await;
}

/// Connections that are never TLS, as fast as they can be made.
#[tokio::test(flavor = "multi_thread")]
async fn flood_of_connections_shuts_out_no_certificate() {
    let scene = Scene::start(Setup::default()).await;
    let (address, until) = (scene.address(), Instant::now() + Duration::from_secs(3));
    let flood = (1..=8).map(async |number| {
        let (mut made, mut open) = (0_u32, std::collections::VecDeque::new());
        while Instant::now() < until {
            if let Ok(stream) = attack::connect_from(attacker(number), address).await {
                made += 1;
                open.push_back(stream);
                open.drain(..open.len().saturating_sub(200));
            }
        }
        made
    });
    let made: u32 = join_all(flood).await.into_iter().sum();
    scene.end("flood of connections", &format!("{made} connections in 3 s")).await;
}

/// h2 and rustls warn of frames and messages that a peer decides to send: 200 lines a second for each connection.
#[tokio::test(flavor = "multi_thread")]
async fn unexpected_frames_of_strangers_write_no_lines() {
    const FRAMES: usize = 1_500;
    let scene = Scene::start(Setup::default()).await;
    for number in 1..=4 {
        let mut peer = scene.stranger(attacker(number)).await;
        peer.write(&frame(PING, ACK, 0, b"not sent").repeat(FRAMES)).await.unwrap();
        peer.send(PING, 0, 0, b"the last").await.unwrap();
        while peer.read().await.unwrap().payload != b"the last" {}
    }
    let log = scene.end("unexpected frames", &format!("4 times {FRAMES} acknowledgements of no PING")).await;
    let lines = log.lines().count();
    println!("{lines} log lines");
    assert!(lines < 50, "{log}");
}

/// A budget of 100 failures that refills slowly, so that a busy machine exceeds it, too.
fn few_failures() -> Vec<(&'static str, String)> {
    vec![("ECR_BROKER_LIMITS_FAILURES_PER_SECOND", "10".to_owned())]
}

/// Calls without any proof: refused, then refused without a log line, and other origins keep their budget.
#[tokio::test(flavor = "multi_thread")]
async fn calls_without_proof_use_up_the_budget_of_their_origin_only() {
    const CALLS: usize = 1_600;
    let scene = Scene::start(Setup { environment: few_failures(), ..Setup::default() }).await;
    let clients = join_all((0..8).map(async |_| whoami(scene.anonymous(attacker(1)).connect().await.unwrap())));
    let flood = clients.await.into_iter().map(async |mut whoami| {
        let mut codes = Vec::new();
        for _ in 0..CALLS / 8 {
            codes.push(whoami("").await.unwrap_err());
        }
        codes
    });
    let codes: Vec<_> = join_all(flood).await.into_iter().flatten().collect();
    let count = |code| codes.iter().filter(|found| **found == code).count();
    let (refused, limited) = (count(Code::Unauthenticated), count(Code::ResourceExhausted));
    assert_eq!(refused + limited, CALLS);
    assert!(refused >= 100 && limited > 0, "{refused} {limited}");
    let mut other = whoami(scene.anonymous(attacker(2)).connect().await.unwrap());
    assert_eq!(other("").await.unwrap_err(), Code::Unauthenticated);
    let log = scene.end("calls without proof", &format!("{refused} refused, {limited} beyond the budget")).await;
    let lines = log.matches("request failed").count();
    println!("{lines} log lines of {CALLS} calls");
    assert!(lines < CALLS / 4, "{lines}");
}

/// Forged tokens from the address of an honest certificate and of an honest token.
#[tokio::test(flavor = "multi_thread")]
async fn forged_tokens_shut_out_no_certificate_and_no_known_token() {
    let (signer, keys) = (Signer::new("k1"), tempfile::tempdir().unwrap());
    let jwks = keys.path().join("jwks.json");
    std::fs::write(&jwks, signer.jwks()).unwrap();
    let tables = format!(
        "[[authentication.jwt]]\nname = \"blue\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks_file = \"{}\"\n",
        jwks.display()
    );
    let scene = Scene::start(Setup { tables, environment: few_failures(), ..Setup::default() }).await;
    let anonymous = async || whoami(scene.anonymous(Ipv4Addr::LOCALHOST).connect().await.unwrap());
    let token = |subject: &str| signer.token(ISSUER, subject, seconds(&SystemClock::new()));
    let (known, unknown) = (token("known"), token("unknown"));
    anonymous().await(&known).await.unwrap();
    let flood = (0..8).map(async |number| {
        let (mut call, mut limited) = (anonymous().await, 0);
        for count in 0..200 {
            limited += usize::from(call(&format!("{number}.{count}.c")).await == Err(Code::ResourceExhausted));
        }
        limited
    });
    let limited: usize = join_all(flood).await.into_iter().sum();
    assert!(limited > 0);
    anonymous().await(&known).await.unwrap();
    let mut elsewhere = whoami(scene.anonymous(attacker(2)).connect().await.unwrap());
    elsewhere(&unknown).await.unwrap();
    scene.end("forged tokens", &format!("1,600 of one address, {limited} beyond the budget")).await;
}

/// Returns a caller of `GetCallerIdentity` with a token, or without one if it is empty.
fn whoami(channel: Channel) -> impl AsyncFnMut(&str) -> Result<(), Code> {
    let mut client = Client::new(channel);
    async move |token: &str| {
        let identity = pb::GetCallerIdentityRequest {};
        let request = if token.is_empty() { tonic::Request::new(identity) } else { bearing(token, identity) };
        client.get_caller_identity(request).await.map(drop).map_err(|status| status.code())
    }
}

/// Returns the PROXY protocol v2 header of a connection from `source`; `None`: of the proxy itself.
fn proxy_header(source: Option<&str>) -> Vec<u8> {
    let address = source.map(|source| {
        let source = SocketAddr::new(source.parse().unwrap(), 40_000);
        ProxiedAddress::stream(source, source)
    });
    let header = address.map_or_else(ProxyHeader::with_local, ProxyHeader::with_address);
    let mut bytes = Vec::new();
    header.encode_v2(&mut bytes).unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn proxied_connections_count_for_the_address_in_their_header() {
    const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 1);
    let environment = vec![
        ("ECR_BROKER_SERVER_PROXY_PROTOCOL_FROM", "127.0.2.0/24".to_owned()),
        ("ECR_BROKER_SERVER_MAX_CONNECTIONS_PER_ADDRESS", "8".to_owned()),
    ];
    let scene = Scene::start(Setup { environment, ..Setup::default() }).await;
    let tls = async |source: Ipv4Addr, header: &[u8]| {
        let mut stream = attack::connect_from(source, scene.address()).await.unwrap();
        stream.write_all(header).await.unwrap();
        scene.tls_over(stream).await
    };
    let mut open = Vec::new();
    for number in 0..20 {
        open.push(tls(PROXY, &proxy_header(Some(&format!("192.0.2.{number}")))).await.unwrap());
    }
    for _ in 0..8 {
        open.push(tls(PROXY, &proxy_header(Some("2001:db8::1"))).await.unwrap());
    }
    assert!(tls(PROXY, &proxy_header(Some("2001:db8::2"))).await.is_err(), "the ninth of one network");
    open.push(tls(PROXY, &proxy_header(None)).await.unwrap());
    assert!(tls(PROXY, b"").await.is_err(), "no header from a proxy");
    assert!(tls(attacker(1), &proxy_header(Some("192.0.2.99"))).await.is_err(), "a header from elsewhere");
    scene.broker.until_logged("no PROXY protocol v2 header");
    scene.end("PROXY protocol", &format!("{} connections of one proxy", open.len())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proxied_connection_is_never_a_loopback_caller() {
    const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 1);
    let broker = program::simulated_broker(&[], &[("ECR_BROKER_SERVER_PROXY_PROTOCOL_FROM", "127.0.2.1")]);
    let address: SocketAddr = broker.address.strip_prefix("grpc://").unwrap().parse().unwrap();
    let connect = async |source: Ipv4Addr, header: Vec<u8>| {
        let mut stream = attack::connect_from(source, address).await.unwrap();
        stream.write_all(&header).await.unwrap();
        let mut stream = Some(TokioIo::new(stream));
        let connector = tower::service_fn(move |_| {
            std::future::ready(stream.take().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected)))
        });
        whoami(Endpoint::from_static("http://broker").connect_with_connector(connector).await.unwrap())
    };
    for header in [Some("127.0.0.1"), Some("::1"), None] {
        let mut call = connect(PROXY, proxy_header(header)).await;
        assert_eq!(call("").await, Err(Code::Unauthenticated), "{header:?}");
    }
    connect(Ipv4Addr::LOCALHOST, Vec::new()).await("").await.unwrap();
    broker.stop();
}
