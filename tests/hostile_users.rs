//! Attacks on memory by peers that prove who they are, on the real program with default settings and 128 MB of memory.
//!
//! They are users of this host without a grant, and owners of a certificate with a small one. What they send is never a message that
//! the broker can answer. Honest callers run beside each attack. Each test prints what it reached, for `docs/reliability.md`.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod attack;
mod certificates;
mod program;
mod raw_frames;
mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use attack::{Scene, Setup, attacker};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use raw_frames::*;
use support::{Client, HOST, request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;

const HEALTH: &str = "/grpc.health.v1.Health/Check";
const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";
const ATTACKER: &str = "spiffe://a.example/ns/attack/sa/any";
const BYSTANDER: &str = "spiffe://a.example/ns/bystander/sa/any";
/// Users of this host without a grant, at least one for each share of the budget.
const USERS: [u32; 5] = [2001, 2002, 2003, 2004, 2005];
const ANNOUNCED: &str = "65 KB announced";
/// Connections that are made at once.
const AT_ONCE: usize = 32;
/// Time for an attack. Its memory is taken within a second or two.
const TIME: Duration = Duration::from_secs(2);

/// What an attacker sends on each stream: a header block, and a part of the body.
struct Attack {
    name: &'static str,
    headers: Vec<u8>,
    body: Vec<u8>,
    /// Flags of the last part of the body.
    flags: u8,
}

impl Attack {
    fn new(name: &'static str, headers: Vec<u8>, body: Vec<u8>) -> Self {
        Self { name, headers, body, flags: 0 }
    }

    /// The first bytes of a message of `announced` bytes.
    fn unfinished(name: &'static str, path: &str, announced: u32, sent: usize) -> Self {
        Self::new(name, call(path), [&[0], &announced.to_be_bytes()[..], &vec![b'x'; sent]].concat())
    }

    fn frames(&self, stream: u32) -> Vec<u8> {
        let last = self.body.len().saturating_sub(1) / 16_000;
        let flags = |number| if number == last { self.flags } else { 0 };
        let parts = self.body.chunks(16_000).enumerate();
        let body = parts.flat_map(|(number, part)| frame(DATA, flags(number), stream, part));
        frame(HEADERS, END_HEADERS, stream, &self.headers).into_iter().chain(body).collect()
    }

    /// Attacks on 100 streams of each connection, within the broker's windows. Returns how many connections are open at the end.
    async fn run<S: AsyncRead + AsyncWrite + Unpin>(&self, peers: Vec<Raw<S>>) -> usize {
        let attack = async |mut peer: Raw<S>| timeout(TIME, self.press(&mut peer)).await.is_err();
        join_all(peers.into_iter().map(attack)).await.into_iter().filter(|is_open| *is_open).count()
    }

    /// Ends when the broker closes the connection.
    async fn press<S: AsyncRead + AsyncWrite + Unpin>(&self, peer: &mut Raw<S>) -> Option<()> {
        let mut window = 65_535;
        for stream in streams() {
            while window < self.body.len() {
                window += read_on(peer).await?;
            }
            window -= self.body.len();
            peer.write(&self.frames(stream)).await.ok()?;
        }
        loop {
            read_on(peer).await?;
        }
    }
}

/// Reads a frame, and returns by how much the window of the connection grows.
async fn read_on<S: AsyncRead + AsyncWrite + Unpin>(peer: &mut Raw<S>) -> Option<usize> {
    let frame = peer.read_and_answer().await.ok()?;
    let update = frame.kind == WINDOW_UPDATE && frame.stream == 0;
    Some(if update { usize::try_from(u32::from_be_bytes(frame.payload.try_into().ok()?)).unwrap() } else { 0 })
}

/// Every way to have memory taken without a message that can be answered.
fn attacks() -> Vec<Attack> {
    let large = block(&vec![("x", "y".repeat(450).as_str()); 30]);
    let many = block(&vec![("a", "b"); 430]);
    let watch = [0; 5].to_vec();
    // Each empty request takes two bytes, and a hundred once it is decoded.
    let batch = [&[0], &60_000_u32.to_be_bytes()[..], &[0x0a, 0].repeat(30_000)].concat();
    vec![
        Attack::unfinished("60 of 65 KB, health", HEALTH, 65_000, 60_000),
        Attack::unfinished("60 of 65 KB, Get", GET, 65_000, 60_000),
        Attack::unfinished(ANNOUNCED, BATCH, 65_000, 0),
        Attack::new("30,000 requests in a batch", call(BATCH), batch),
        Attack::new("13 KB of headers", [call(GET), large].concat(), Vec::new()),
        Attack::new("430 header fields", [call(GET), many].concat(), Vec::new()),
        Attack::unfinished("900 bytes, reflection", REFLECTION, 1_000, 900),
        Attack { flags: END_STREAM, ..Attack::new("health watches", call(HEALTH_WATCH), watch) },
    ]
}

/// The attacks by `users`, with `each` connections of every user.
async fn attacks_of_users(attacks: Vec<Attack>, users: &[u32], each: usize) {
    for attack in attacks {
        let scene = Scene::start(Setup::default()).await;
        let streams = users.iter().flat_map(|uid| scene.users(*uid, each));
        let opened = streams.map(async |stream| Raw::try_open_over(stream, &[]).await.ok());
        let peers: Vec<_> =
            stream::iter(opened).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
        let connected = peers.len();
        let open = attack.run(peers).await;
        let figure = format!("{connected} connections of {} users, {open} open after {TIME:?}", users.len());
        scene.end(attack.name, &figure).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn user_without_a_grant_takes_no_memory_from_others() {
    attacks_of_users(attacks(), &USERS[..1], 48).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_users_without_a_grant_take_no_memory_from_others() {
    attacks_of_users(attacks(), &USERS, 12).await;
}

/// Announced messages are the cheapest attack: 14 bytes each, of which 77 KB count.
fn announcements() -> Vec<Attack> {
    attacks().into_iter().filter(|attack| attack.name == ANNOUNCED).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_at_the_limit_of_memory_starve_no_other() {
    attacks_of_users(announcements(), &USERS, 48).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "connects 1,280 peers: cargo test --test hostile_users -- --ignored"]
async fn most_connections_of_five_users_starve_no_other() {
    attacks_of_users(announcements(), &USERS, 256).await;
}

/// Silent connections of five users, as many as there are places for Unix sockets, and a quarter more.
async fn users_that_hold_every_place(places: usize) {
    if !rustix::process::getuid().is_root() {
        println!("skipped: this process may not call as another user");
        return;
    }
    let environment = vec![
        ("ECR_BROKER_SERVER_MAX_CONNECTIONS", places.to_string()),
        ("ECR_BROKER_SERVER_MAX_CONNECTIONS_PER_UID", (places / 4).to_string()),
    ];
    let scene = Scene::start(Setup { environment, ..Setup::default() }).await;
    let streams = USERS.iter().flat_map(|uid| scene.users(*uid, places / 4));
    let opened = streams.map(async |stream| Raw::try_open_over(stream, &[]).await.ok());
    let peers: Vec<_> = stream::iter(opened).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
    let connected = peers.len();
    // Each honest caller makes five connections for them.
    scene.more_honest_calls(50).await;
    let log = scene.end("every place", &format!("{connected} connections of five users for {places} places")).await;
    assert!(log.contains("connection closed for another one"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_that_hold_every_place_shut_out_no_other() {
    users_that_hold_every_place(128).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "connects 5,120 peers: cargo test --test hostile_users -- --ignored"]
async fn users_that_hold_4096_places_shut_out_no_other() {
    users_that_hold_every_place(4_096).await;
}

/// The allocator returns what it has not used for half a second.
#[tokio::test(flavor = "multi_thread")]
async fn memory_of_2000_connections_comes_back_when_they_leave() {
    const MAX_GROWTH_MB: u64 = 12;
    let scene = Scene::start(Setup::default()).await;
    let memory = || scene.broker.memory_mb();
    let before = memory();
    let streams = (0..8).flat_map(|number| scene.users(3_000 + number, 250));
    let opened = streams.map(async |stream| Raw::try_open_over(stream, &[]).await.unwrap());
    let peers: Vec<_> = stream::iter(opened).buffer_unordered(AT_ONCE).collect().await;
    let open = memory();
    assert!(open > before + 2 * MAX_GROWTH_MB, "the test holds too little: {before} MB, then {open} MB");
    drop(peers);
    let began = Instant::now();
    while memory() > before + MAX_GROWTH_MB && began.elapsed() < Duration::from_secs(30) {
        scene.more_honest_calls(5).await;
    }
    let after = memory();
    let figure = format!("{before} MB before, {open} MB open, {after} MB {:.1?} later", began.elapsed());
    let log = scene.end("2,000 connections", &figure).await;
    assert!(!log.contains("allocator not set up"), "{log}");
    assert!(after <= before + MAX_GROWTH_MB, "{figure}");
}

/// Connects with a certificate.
async fn certified(scene: &Scene, source: Ipv4Addr) -> Option<Raw<TlsStream<TcpStream>>> {
    Raw::try_open_over(scene.certified_tls(ATTACKER, source).await.ok()?, &[]).await.ok()
}

/// A hundred calls at once on one connection.
async fn hundred_calls(client: &Client) {
    let call = |_| {
        let mut client = client.clone();
        async move { client.get_registry_credentials(request(HOST)).await }
    };
    for answer in join_all((0..100).map(call)).await {
        answer.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_with_a_small_grant_takes_no_memory_from_others() {
    let callers = [ATTACKER, BYSTANDER].map(|id| format!("{{ spiffe = \"{id}\" }}")).join(", ");
    let registries = "registries = [{ accounts = [\"123456789012\"], regions = [\"eu-central-1\"] }]";
    let tables = format!("[[grants]]\nid = \"small\"\ncallers = [{callers}]\n{registries}\n");
    for attack in attacks() {
        let scene = Scene::start(Setup { tables: tables.clone(), ..Setup::default() }).await;
        let bystander = Client::new(scene.certified(BYSTANDER, attacker(9)).connect().await.unwrap());
        let sources = (0..24).map(|number| attacker(1 + number % 2));
        let peers: Vec<_> = stream::iter(sources.map(|source| certified(&scene, source)))
            .buffer_unordered(AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await;
        let (open, ()) = tokio::join!(attack.run(peers), hundred_calls(&bystander));
        scene.end(attack.name, &format!("24 connections over mTLS, {open} open after {TIME:?}")).await;
    }
}

/// Sends a TLS record without its last byte, on a connection that speaks HTTP/2.
async fn incomplete_record(scene: &Scene, id: Option<&str>, source: Ipv4Addr) -> Option<Raw<TlsStream<TcpStream>>> {
    let stream = match id {
        Some(id) => scene.certified_tls(id, source).await,
        None => scene.try_tls(source).await,
    };
    let mut peer = Raw::try_open_over(stream.ok()?, &[]).await.ok()?;
    let (io, session) = peer.stream.get_mut();
    std::io::Write::write_all(&mut session.writer(), &[0; 16_000]).unwrap();
    let mut record = Vec::new();
    session.write_tls(&mut record).unwrap();
    tokio::io::AsyncWriteExt::write_all(io, &record[..record.len() - 1]).await.ok()?;
    Some(peer)
}

/// Records that are never complete, of certificates and of strangers. rustls keeps 16 KB of each.
async fn incomplete_records(addresses: u8, each: usize) {
    for id in [Some(ATTACKER), None] {
        let scene = Scene::start(Setup::default()).await;
        let before = scene.broker.memory_mb();
        let sources = (0..each).flat_map(|_| (1..=addresses).map(attacker));
        let sent = sources.map(|source| incomplete_record(&scene, id, source));
        let peers: Vec<_> = stream::iter(sent).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
        let (sent, after, began) = (peers.len(), scene.broker.memory_mb(), Instant::now());
        let closed = async |mut peer: Raw<TlsStream<TcpStream>>| while peer.read_and_answer().await.is_ok() {};
        timeout(Duration::from_secs(30), join_all(peers.into_iter().map(closed))).await.expect("all are closed");
        let figure =
            format!("{sent} records, {before} MB before, {after} MB then, closed {:.1?} later", began.elapsed());
        scene.end(if id.is_some() { "records of certificates" } else { "records of strangers" }, &figure).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn incomplete_tls_records_take_bounded_memory_and_end() {
    incomplete_records(4, 32).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "connects 4,096 peers: cargo test --test hostile_users -- --ignored"]
async fn incomplete_tls_records_of_sixteen_addresses() {
    incomplete_records(16, 256).await;
}
