use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::*;
use crate::address::ListenAddress;
use crate::clock::SystemClock;
use crate::server::listener::Listener;
use crate::server::shutdown::FINAL_FLUSH;
use crate::server::socket_activation::ActivatedSockets;
use crate::server::test_protocol::Echo;

const LONG: Duration = Duration::from_mins(1);

fn settings() -> Settings {
    Settings {
        drain_timeout: LONG,
        drain_delay: Duration::ZERO,
        max_connection_age: LONG,
        max_connections: 10,
        max_connections_per_address: 10,
        max_connections_per_uid: 10,
        proxy_protocol_from: Vec::new(),
    }
}

fn start(endpoints: Vec<Endpoint>, settings: &Settings, shutdown: ShutdownStages) -> Server {
    let mut registry = Registry::default();
    let hits = LimitHits::new(&mut registry);
    let unproved = UnprovedConnections::new(1_000, Arc::new(SystemClock::new()), hits.clone());
    let connections = Connections::new(settings, &unproved, &hits, &mut registry);
    Server::start(endpoints, settings, connections, shutdown)
}

fn endpoint(drain: Drain, stubborn: bool) -> (Endpoint, SocketAddr) {
    let any_port = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
    let listener = Listener::bind(&any_port, &mut ActivatedSockets::default()).unwrap();
    let &ListenAddress::Tcp(address) = listener.address() else { panic!("a TCP address") };
    (Endpoint { listener, protocol: Arc::new(Echo { stubborn }), drain }, address)
}

/// A server with one endpoint that drains first and one that drains last.
fn server(settings: &Settings) -> (Server, [SocketAddr; 2]) {
    let (first, callers) = endpoint(Drain::First, false);
    let (last, observers) = endpoint(Drain::Last, false);
    (start(vec![first, last], settings, ShutdownStages::default()), [callers, observers])
}

async fn is_served(stream: &mut TcpStream) -> bool {
    let mut byte = [0; 1];
    stream.write_all(b"x").await.is_ok() && stream.read_exact(&mut byte).await.is_ok()
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

#[tokio::test]
async fn endpoints_that_drain_last_serve_until_the_others_have_drained() {
    let (server, [callers, observers]) = server(&settings());
    let (mut caller, mut observer) = (connect(callers).await, connect(observers).await);
    assert!(is_served(&mut caller).await && is_served(&mut observer).await);

    server.drain(Drain::First, LONG).await;
    assert!(!is_served(&mut caller).await);
    assert!(TcpStream::connect(callers).await.is_err(), "the listener is closed");
    assert!(is_served(&mut observer).await);
    assert!(is_served(&mut connect(observers).await).await, "new connections are accepted");

    server.drain(Drain::Last, LONG).await;
    assert!(!is_served(&mut observer).await);
    assert!(TcpStream::connect(observers).await.is_err());
}

#[tokio::test]
async fn endpoints_that_drain_last_take_no_share_of_max_connections() {
    let (server, [callers, observers]) = server(&Settings { max_connections: 1, ..settings() });
    let mut caller = connect(callers).await;
    assert!(is_served(&mut caller).await);
    assert!(!is_served(&mut connect(callers).await).await, "the limit is reached");
    let mut held = Vec::new();
    for _ in 0..MAX_OBSERVERS + MAX_OBSERVERS / 4 {
        let mut observer = connect(observers).await;
        assert!(is_served(&mut observer).await, "a new one ends an old one");
        held.push(observer);
    }
    for observer in &mut held[..MAX_OBSERVERS / 4] {
        assert!(!is_served(observer).await, "their own limit");
    }
    drop(caller);
    while !is_served(&mut connect(callers).await).await {
        tokio::task::yield_now().await;
    }
    drop(server);
}

#[tokio::test]
async fn connection_ends_at_its_maximum_age() {
    let age = Duration::from_millis(200);
    let (_server, [callers, _]) = server(&Settings { max_connection_age: age, ..settings() });
    let mut caller = connect(callers).await;
    let start = Instant::now();
    assert!(is_served(&mut caller).await);
    assert_eq!(timeout(LONG, caller.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    assert!(start.elapsed() >= age.mul_f64(0.8), "{:?}", start.elapsed());
}

#[tokio::test]
async fn connection_that_does_not_end_is_aborted_after_the_final_flush() {
    let (stubborn, address) = endpoint(Drain::First, true);
    let shutdown = ShutdownStages::default();
    let server = start(vec![stubborn], &settings(), shutdown.clone());
    let mut caller = connect(address).await;
    assert!(is_served(&mut caller).await);
    let start = Instant::now();
    let drain_timeout = Duration::from_millis(50);
    server.drain(Drain::First, drain_timeout).await;
    assert!(shutdown.drain.is_cancelled() && shutdown.force_shutdown.is_cancelled() && shutdown.abort.is_cancelled());
    assert!(start.elapsed() >= drain_timeout + FINAL_FLUSH, "{:?}", start.elapsed());
    assert!(!is_served(&mut caller).await);
}
