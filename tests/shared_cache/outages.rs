//! Outages of the server: no error, a bounded delay once, and recovery without a restart.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::fleet::{Fleet, Replica, TIMEOUT, ask};
use super::store::{Kind, Store, with_each};
use super::support::host;

/// Room for a busy machine, beside the time limit of an operation. A breaker that does not open costs a time limit for each key.
const ROOM: Duration = Duration::from_secs(2);
/// Keys whose misses follow each other during an outage.
const MISSES: usize = 60;

/// Two replicas that shared a credential, with the default time limit.
struct Outage {
    store: Store,
    fleet: Fleet,
    replicas: Vec<Replica>,
    next: usize,
}

impl Outage {
    async fn new(kind: &Kind, arguments: &[&str]) -> Self {
        let store = kind.start_with(arguments);
        let url = store.url();
        Self::through(store, &url).await
    }

    async fn through(store: Store, url: &str) -> Self {
        let fleet = Fleet::with(&format!("url = \"{url}\"")).await;
        let replicas = fleet.replicas(2).await;
        let mut outage = Self { store, fleet, replicas, next: 0 };
        outage.recovers().await;
        outage
    }

    fn key(&mut self) -> String {
        self.next += 1;
        host(self.next)
    }

    /// Checks that misses go to AWS without an error, and that all together wait for the server no longer than once.
    async fn costs_one_time_limit(&mut self) {
        let calls = self.fleet.aws.calls();
        let started = Instant::now();
        for _ in 0..MISSES {
            let key = self.key();
            self.replicas[0].get(&key).await.unwrap();
        }
        let took = started.elapsed();
        // Each miss would add its time limit: six seconds.
        assert!(took < TIMEOUT * 10 + ROOM, "{took:?} for {MISSES} misses: {:?}", self.store);
        assert_eq!(self.fleet.aws.calls() - calls, MISSES as u64, "{:?}", self.store);
        self.replicas[0].until("breaker_open").await;
    }

    /// Checks that the replicas share credentials, by themselves.
    async fn recovers(&mut self) {
        for replica in &self.replicas {
            replica.until("connected").await;
        }
        // A busy machine may exceed the time limit, which opens a breaker for a moment.
        for _ in 0..20 {
            let (key, calls) = (self.key(), self.fleet.aws.calls());
            ask(&self.replicas[..1], &key).await;
            ask(&self.replicas[1..], &key).await;
            if self.fleet.aws.calls() == calls + 1 {
                return;
            }
            join_all(self.replicas.iter().map(|replica| replica.until("connected"))).await;
        }
        panic!("nothing is shared: {:?}", self.store);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_server_costs_one_time_limit() {
    with_each(async |kind| {
        let mut outage = Outage::new(&kind, &[]).await;
        outage.store.signal("STOP");
        outage.costs_one_time_limit().await;
        outage.store.signal("CONT");
        outage.recovers().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_server_costs_nothing_until_it_is_back() {
    with_each(async |kind| {
        let mut outage = Outage::new(&kind, &[]).await;
        outage.store.kill();
        outage.costs_one_time_limit().await;
        outage.store.restart();
        outage.recovers().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_of_the_server_is_not_waited_for() {
    with_each(async |kind| {
        let primary = kind.start();
        let mut outage = Outage::new(&kind, &[]).await;
        outage.store.run::<()>(&format!("REPLICAOF 127.0.0.1 {}", primary.port)).await;
        outage.costs_one_time_limit().await;
        outage.store.run::<()>("REPLICAOF NO ONE").await;
        outage.recovers().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_server_is_not_waited_for() {
    with_each(async |kind| {
        let mut outage = Outage::new(&kind, &["--maxmemory-policy", "noeviction"]).await;
        outage.store.run::<()>("CONFIG SET maxmemory 1").await;
        outage.costs_one_time_limit().await;
        outage.store.run::<()>("CONFIG SET maxmemory 0").await;
        outage.recovers().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_network_costs_one_time_limit() {
    with_each(async |kind| {
        let store = kind.start();
        let network = Network::before(store.port).await;
        let url = format!("redis://127.0.0.1:{}", network.port);
        let mut outage = Outage::through(store, &url).await;
        network.cut(true);
        outage.costs_one_time_limit().await;
        network.cut(false);
        outage.recovers().await;
    })
    .await;
}

/// A program that speaks another protocol, and one that answers without end.
#[tokio::test(flavor = "multi_thread")]
async fn other_program_at_the_address_is_harmless() {
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", "*1000000000\r\n*1000000000\r\n", "$1000000000\r\n", ""] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let hostile = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while stream.write_all(answer.as_bytes()).await.is_ok() && !answer.is_empty() {}
                });
            }
        });
        let fleet = Fleet::with(&format!("url = \"{url}\"")).await;
        let replica = fleet.replica().await;
        replica.until("breaker_open").await;
        for number in 0..10 {
            replica.get(&host(number)).await.unwrap();
        }
        assert_eq!(fleet.aws.calls(), 10, "{answer:?}");
        hostile.abort();
    }
}

/// A network that loses every packet while it is cut.
struct Network {
    port: u16,
    is_cut: tokio::sync::watch::Sender<bool>,
    _task: tokio_util::task::AbortOnDropHandle<()>,
}

impl Network {
    async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (is_cut, cuts) = tokio::sync::watch::channel(false);
        let task = tokio::spawn(async move {
            let mut links = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let cuts = cuts.clone();
                links.spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::join!(carry(from_client, to_server, cuts.clone()), carry(from_server, to_client, cuts));
                });
            }
        });
        Self { port: own, is_cut, _task: tokio_util::task::AbortOnDropHandle::new(task) }
    }

    fn cut(&self, is_cut: bool) {
        self.is_cut.send_replace(is_cut);
    }
}

/// Carries bytes, and loses them while the network is cut.
async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    cuts: tokio::sync::watch::Receiver<bool>,
) {
    use tokio::io::AsyncReadExt as _;

    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if !*cuts.borrow() && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
