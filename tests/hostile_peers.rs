//! Misbehaving clients, each beside an honest one: the broker closes the offender's connection, loses no honest call, and its memory
//! stays bounded.
//!
//! The tests build frames by hand, because no library would send them. Each prints what it reached, for `docs/reliability.md`.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod program;
mod raw_frames;
mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use ecr_broker::pb;
use futures_util::future::join_all;
use program::{Server, simulated_broker};
use raw_frames::*;
use support::{Client, HOST, host, request};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Endpoint;

/// Time within which the broker must close an offender's connection.
const CUT_LIMIT: Duration = Duration::from_secs(10);
/// Duration of an honest call beyond which it was starved. The machine may be busy with other tests.
const HONEST_LIMIT: Duration = Duration::from_secs(2);
/// Prefixes of every password and of every token of the simulated AWS.
const SIMULATED: [&str; 2] = ["eyJwYXlsb2Fk", "QVdTOmV5"];
/// Honest calls that must succeed after the attack.
const AFTERWARDS: u32 = 30;
/// Memory that the broker may gain under any attack.
const GROWTH_MB: u64 = 192;

/// A broker and its honest client.
struct Scene {
    broker: Server,
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU32>,
    honest: JoinHandle<Duration>,
    memory_mb: u64,
    _directory: tempfile::TempDir,
}

impl Scene {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = format!("unix:{}", directory.path().join("b.sock").display());
        let broker = simulated_broker(&["--listen", &socket], &[("RUST_LOG", "trace")]);
        let uri = socket.replace("unix:", "unix://");
        let stop = Arc::new(AtomicBool::new(false));
        let calls = Arc::new(AtomicU32::new(0));
        let honest = tokio::spawn(honest(uri, Arc::clone(&stop), Arc::clone(&calls)));
        let memory_mb = broker.memory_mb();
        Self { broker, stop, calls, honest, memory_mb, _directory: directory }
    }

    /// The broker's address without the scheme.
    fn address(&self) -> String {
        self.broker.address.strip_prefix("grpc://").unwrap().to_owned()
    }

    /// Checks that no honest call was lost, that memory stayed bounded and that the log holds no password.
    async fn end(self, name: &str, figure: &str) {
        let grown = self.broker.memory_mb().saturating_sub(self.memory_mb);
        let calls_before = self.calls.load(Ordering::Relaxed);
        while self.calls.load(Ordering::Relaxed) < calls_before + AFTERWARDS && !self.honest.is_finished() {
            sleep(Duration::from_millis(5)).await;
        }
        self.stop.store(true, Ordering::Relaxed);
        let slowest = self.honest.await.unwrap();
        let calls = self.calls.load(Ordering::Relaxed);
        println!("{name}: {figure}; {calls} honest calls, none lost, the slowest {slowest:.0?}; {grown} MB more");
        assert!(slowest < HONEST_LIMIT, "{slowest:?}");
        assert!(grown < GROWTH_MB, "{grown} MB");
        let logs = self.broker.stop();
        for secret in SIMULATED {
            assert!(!logs.contains(secret), "{name}: a password in the log");
        }
    }
}

/// Calls every few milliseconds, each tenth time over a new connection; returns the longest duration of a call.
async fn honest(uri: String, stop: Arc<AtomicBool>, calls: Arc<AtomicU32>) -> Duration {
    let mut slowest = Duration::ZERO;
    let mut client = None;
    while !stop.load(Ordering::Relaxed) {
        if calls.load(Ordering::Relaxed).is_multiple_of(10) {
            client = Some(Client::new(Endpoint::from_shared(uri.clone()).unwrap().connect().await.unwrap()));
        }
        let began = Instant::now();
        client.as_mut().unwrap().get_registry_credentials(request(HOST)).await.unwrap();
        slowest = slowest.max(began.elapsed());
        calls.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(5)).await;
    }
    slowest
}

/// Returns the bytes in the send queue of each open connection of the broker. Sockets that no process owns any more do not count.
fn unsent(address: &str) -> Vec<u64> {
    const ESTABLISHED: &str = "01";
    let port = address.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let (local, table) = (format!("0100007F:{port:04X}"), fs::read_to_string("/proc/net/tcp").unwrap());
    let of_broker = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is_open = (fields[1], fields[3]) == (local.as_str(), ESTABLISHED) && fields[9] != "0";
        is_open.then(|| u64::from_str_radix(fields[4].split_once(':').unwrap().0, 16).unwrap())
    };
    table.lines().skip(1).filter_map(of_broker).collect()
}

/// Checks that the broker closes the connection long before the flood is over.
async fn assert_flood_is_cut(name: &str, bytes: impl FnMut(usize) -> Vec<u8>) {
    let scene = Scene::start();
    let mut raw = Raw::open(&scene.address(), &[]).await;
    let cut = timeout(CUT_LIMIT, raw.flood(1_000_000, bytes)).await.expect("in time").expect("a cut");
    scene.end(name, &format!("closed after {:.1?}, when {} frames had been sent", cut.after, cut.frames)).await;
}

fn get() -> Vec<u8> {
    message(&request(HOST))
}

/// The ways of a client to stall its connection.
#[derive(Debug, Clone, Copy)]
enum Stall {
    Silence,
    PrefaceByteByByte,
    OtherProtocol,
    NoAcknowledgement,
    HalfOfHeaders,
    EndlessHeaders,
    FrameByteByByte,
    ZeroWindow,
    ReflectionWithZeroWindow,
}

impl Stall {
    const ALL: [(Self, &str); 9] = [
        (Self::Silence, "a silent connection"),
        (Self::PrefaceByteByByte, "the preface, a byte a second"),
        (Self::OtherProtocol, "HTTP/1.1"),
        (Self::NoAcknowledgement, "the preface, and no acknowledgement of SETTINGS or PING"),
        (Self::HalfOfHeaders, "half a HEADERS frame"),
        (Self::EndlessHeaders, "HEADERS, and an empty CONTINUATION every second"),
        (Self::FrameByteByByte, "a frame, a byte a second"),
        (Self::ZeroWindow, "100 calls with a window of zero"),
        (Self::ReflectionWithZeroWindow, "100 calls of reflection with 100 requests each and a window of zero"),
    ];

    /// Stalls until the broker closes the connection.
    async fn perform(self, address: &str) -> Cut {
        let headers = frame(HEADERS, END_HEADERS, 1, &call(GET));
        match self {
            Self::Silence => Raw::connect(address).await.until_cut(true).await.0,
            Self::PrefaceByteByByte => Raw::connect(address).await.spell(PREFACE).await,
            Self::OtherProtocol => {
                let mut raw = Raw::connect(address).await;
                raw.write(b"GET / HTTP/1.1\r\nHost: broker\r\nAccept: */*\r\n\r\n").await.unwrap();
                raw.until_cut(true).await.0
            }
            Self::NoAcknowledgement => {
                let mut raw = Raw::connect(address).await;
                raw.write(PREFACE).await.unwrap();
                raw.send(SETTINGS, 0, 0, &[]).await.unwrap();
                raw.until_cut(false).await.0
            }
            Self::HalfOfHeaders => {
                let mut raw = Raw::open(address, &[]).await;
                raw.write(&headers[..headers.len() / 2]).await.unwrap();
                raw.until_cut(true).await.0
            }
            Self::EndlessHeaders => {
                let mut raw = Raw::open(address, &[]).await;
                raw.send(HEADERS, END_STREAM, 1, &call(GET)).await.unwrap();
                while raw.send(CONTINUATION, 0, 1, &[]).await.is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
                raw.cut()
            }
            Self::FrameByteByByte => Raw::open(address, &[]).await.spell(&headers).await,
            Self::ReflectionWithZeroWindow => {
                let mut raw = Raw::open(address, &[0, 4, 0, 0, 0, 0]).await;
                // Each asks for the list of services.
                let questions = b"\0\0\0\0\x03\x3a\x01*".repeat(100);
                for number in 0..100 {
                    let stream = 2 * number + 1;
                    raw.send(HEADERS, END_HEADERS, stream, &call(REFLECTION)).await.unwrap();
                    raw.send(DATA, 0, stream, &questions).await.unwrap();
                }
                raw.until_response().await;
                raw.until_cut(true).await.0
            }
            Self::ZeroWindow => {
                let mut raw = Raw::open(address, &[0, 4, 0, 0, 0, 0]).await;
                for number in 0..100 {
                    let stream = 2 * number + 1;
                    raw.send(HEADERS, END_HEADERS, stream, &call(GET)).await.unwrap();
                    raw.send(DATA, END_STREAM, stream, &get()).await.unwrap();
                }
                raw.until_response().await;
                raw.until_cut(true).await.0
            }
        }
    }
}

/// Adds up by how much sleeps of 100 ms take longer: the time that a loaded machine withholds from the test and the broker.
async fn measure(withheld: &mut Duration) {
    const STEP: Duration = Duration::from_millis(100);
    loop {
        let start = Instant::now();
        sleep(STEP).await;
        *withheld += start.elapsed().saturating_sub(STEP);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_connections_are_closed_within_10_s() {
    const OF_EACH: usize = 25;
    let scene = Scene::start();
    let address = scene.address();
    let of_kind = async |stall: Stall| {
        let cuts = join_all((0..OF_EACH).map(|_| stall.perform(&address))).await;
        cuts.into_iter().map(|cut| cut.after).max().unwrap()
    };
    let mut withheld = Duration::ZERO;
    let last = tokio::select! {
        last = join_all(Stall::ALL.map(|(stall, _)| of_kind(stall))) => last,
        () = measure(&mut withheld) => unreachable!("it has no end"),
    };
    for ((stall, name), last) in Stall::ALL.into_iter().zip(&last) {
        println!("{name}: {OF_EACH} connections, the last one closed after {last:.1?} ({withheld:.1?} withheld)");
        assert!(*last <= CUT_LIMIT + withheld, "{stall:?}: {last:?}, {withheld:?} withheld");
    }
    scene.end("all of these at once", &format!("{} connections", OF_EACH * Stall::ALL.len())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn protocol_other_than_http2_is_named_in_the_log() {
    let broker = simulated_broker(&[], &[]);
    let address = broker.address.strip_prefix("grpc://").unwrap();
    for (bytes, problem) in [
        (&b"GET / HTTP/1.1\r\nhost: broker\r\n\r\n"[..], "HTTP/1.1 on a port of gRPC, which needs HTTP/2"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS on a port without TLS"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "neither HTTP/2 nor TLS"),
    ] {
        let mut raw = Raw::connect(address).await;
        raw.write(bytes).await.unwrap();
        raw.until_cut(true).await;
        drop(raw);
        broker.until_logged(&format!("\"problem\":\"{problem}\""));
    }
    broker.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_message_ends_its_call_and_keeps_the_connection() {
    let scene = Scene::start();
    let mut raw = Raw::open(&scene.address(), &[]).await;
    for stream in [1, 3] {
        raw.send(HEADERS, END_HEADERS, stream, &call(GET)).await.unwrap();
    }
    // The second call sends a byte now and then.
    let mut answered = Vec::new();
    let mut dribble = get().into_iter();
    while answered.len() < 2 {
        tokio::select! {
            frame = raw.read() => {
                let frame = frame.unwrap();
                if frame.kind == HEADERS && frame.flags & END_STREAM != 0 {
                    let text = String::from_utf8_lossy(&frame.payload).into_owned();
                    answered.push((frame.stream, raw.cut().after, text));
                }
            }
            () = sleep(Duration::from_millis(900)) => {
                raw.send(DATA, 0, 3, &[dribble.next().unwrap()]).await.unwrap();
            }
        }
    }
    for (stream, after, _) in &answered {
        assert!(*after <= CUT_LIMIT, "{stream}: {after:?}");
    }
    // The connection still serves complete calls, also one whose message arrives in pieces.
    raw.send(HEADERS, END_HEADERS, 5, &call(GET)).await.unwrap();
    for piece in get().chunks(3) {
        raw.send(DATA, 0, 5, piece).await.unwrap();
    }
    raw.send(DATA, END_STREAM, 5, &[]).await.unwrap();
    loop {
        let frame = raw.read().await.unwrap();
        if (frame.kind, frame.stream) == (DATA, 5) {
            break;
        }
    }
    let last = answered.iter().map(|(_, after, _)| *after).max().unwrap();
    scene.end("HEADERS without a message", &format!("call ended after {last:.1?}, connection kept")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_resets_is_cut() {
    let reset = |number| {
        let stream = 2 * u32::try_from(number).unwrap() + 1;
        [frame(HEADERS, END_HEADERS, stream, &call(GET)), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    assert_flood_is_cut("rapid reset", reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_continuations_is_cut() {
    let first = frame(HEADERS, 0, 1, &call(GET));
    let next = frame(CONTINUATION, 0, 1, &block(&[("x", "y")]));
    assert_flood_is_cut("CONTINUATION", move |number| if number == 0 { first.clone() } else { next.clone() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_empty_data_is_cut() {
    let first = frame(HEADERS, END_HEADERS, 1, &call(GET));
    assert_flood_is_cut("empty DATA", move |number| if number == 0 { first.clone() } else { frame(DATA, 0, 1, &[]) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_settings_is_cut() {
    let settings = [0, 4, 0, 0, 0xff, 0xff];
    assert_flood_is_cut("SETTINGS", move |_| frame(SETTINGS, 0, 0, &settings)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_pings_is_cut() {
    assert_flood_is_cut("PING", |number| frame(PING, 0, 0, &number.to_be_bytes())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_meaningless_frames_are_cut() {
    let (update, priority) = (1_u32.to_be_bytes(), [0, 0, 0, 0, 16]);
    assert_flood_is_cut("WINDOW_UPDATE", move |_| frame(WINDOW_UPDATE, 0, 0, &update)).await;
    assert_flood_is_cut("PRIORITY", move |_| frame(PRIORITY, 0, 1, &priority)).await;
    assert_flood_is_cut("frames of an unknown type", |_| frame(0xbe, 0, 0, b"x")).await;
}

/// HPACK bomb: many references to one large table entry, a few bytes on the wire and gigabytes in memory.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_unpack_beyond_16_kib_are_rejected() {
    let scene = Scene::start();
    let mut raw = Raw::open(&scene.address(), &[]).await;
    let large = [vec![0x40, 1, b'x', 0x7f, 0x81, 0x1e], vec![b'y'; 4000]].concat();
    let bomb = [call(GET), large, vec![0xbe; 12_000]].concat();
    let began = Instant::now();
    raw.send(HEADERS, END_HEADERS | END_STREAM, 1, &bomb).await.unwrap();
    let refused = loop {
        match raw.read().await {
            Ok(frame) if matches!(frame.kind, HEADERS | RST_STREAM | GOAWAY) => break frame.kind,
            Ok(_) => {}
            Err(_) => break GOAWAY,
        }
    };
    scene
        .end("an HPACK bomb of 48 MB", &format!("refused by a frame of type {refused} after {:.1?}", began.elapsed()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_100_per_connection_are_rejected_one_by_one() {
    let scene = Scene::start();
    let mut raw = Raw::open(&scene.address(), &[]).await;
    for number in 0..150 {
        raw.send(HEADERS, END_HEADERS, 2 * number + 1, &call(GET)).await.unwrap();
    }
    let mut refused = 0;
    while refused < 50 {
        let frame = raw.read().await.unwrap();
        if frame.kind == RST_STREAM {
            // REFUSED_STREAM: a client may send it again.
            assert_eq!(frame.payload, 7_u32.to_be_bytes());
            refused += 1;
        }
    }
    scene.end("150 calls at once", "50 refused").await;
}

/// The windows have their maximum size, and the client reads nothing. It cannot see the end of its connection either, so the test
/// counts connections in the kernel's table.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_do_not_read_responses_are_closed() {
    let scene = Scene::start();
    let requests = (0..50).map(|number| request(&host(number))).collect();
    let batch = message(&pb::BatchGetRegistryCredentialsRequest { requests });
    let address = scene.address();
    let offenders = join_all((0..3).map(async |_| {
        let mut raw = Raw::open(&address, &[0, 4, 0x7f, 0xff, 0xff, 0xff]).await;
        raw.send(WINDOW_UPDATE, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes()).await.unwrap();
        for number in 0..60 {
            let stream = 2 * number + 1;
            raw.send(HEADERS, END_HEADERS, stream, &call(BATCH)).await.unwrap();
            raw.send(DATA, END_STREAM, stream, &batch).await.unwrap();
        }
        raw
    }))
    .await;
    // The time counts from when nothing more can be sent: until then the broker still produces responses.
    let (mut largest, mut full) = (0, Vec::new());
    loop {
        sleep(Duration::from_millis(300)).await;
        let now = unsent(&address);
        assert!(!now.is_empty(), "closed before the send window was full");
        if now == full && now.iter().all(|bytes| *bytes > 0) {
            break;
        }
        full = now;
    }
    let began = Instant::now();
    while !unsent(&address).is_empty() {
        largest = largest.max(scene.broker.memory_mb());
        assert!(began.elapsed() < CUT_LIMIT, "{} connections are still there", unsent(&address).len());
        sleep(Duration::from_millis(100)).await;
    }
    let (after, grown) = (began.elapsed(), largest.saturating_sub(scene.memory_mb));
    drop(offenders);
    let figure = format!("3 connections, closed {after:.1?} after nothing more could be sent, {grown} MB at the most");
    scene.end("180 batches of 50, nothing read", &figure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_of_an_address_are_closed() {
    let scene = Scene::start();
    let address = scene.address();
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(Raw::connect(&address).await);
    }
    // Connections beyond 256 are closed at once, not after the preface timeout.
    let closed = join_all(held[256..].iter_mut().map(|raw| raw.until_cut(true))).await;
    let last = closed.into_iter().map(|(cut, _)| cut.after).max().unwrap();
    assert!(last < Duration::from_secs(4), "{last:?}");
    let neighbour = tokio::net::TcpSocket::new_v4().unwrap();
    neighbour.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = neighbour.connect(address.parse().unwrap()).await.unwrap();
    let mut neighbour = held.pop().unwrap();
    neighbour.stream = stream;
    neighbour.write(PREFACE).await.unwrap();
    neighbour.send(SETTINGS, 0, 0, &[]).await.unwrap();
    assert_eq!(neighbour.read().await.unwrap().kind, SETTINGS);
    scene.end("300 connections from one address", "44 closed at once, another address is served").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_ends_its_connection_only() {
    let scene = Scene::start();
    let address = scene.address();
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..300 {
        let mut raw = Raw::open(&address, &[]).await;
        for _ in 0..random.usize(1..20) {
            let length = random.usize(0..300);
            let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
            let sent = if random.bool() {
                raw.send(random.u8(0..12), random.u8(..), random.u32(0..10), &noise).await
            } else {
                raw.send(HEADERS, END_HEADERS, random.u32(1..100) | 1, &[call(GET), noise].concat()).await
            };
            if sent.is_err() {
                break;
            }
        }
    }
    scene.end("300 connections of noise, seed 1", "all survived").await;
}
