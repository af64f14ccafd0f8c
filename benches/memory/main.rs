//! Measures memory: idle connections of the broker beside those of hyper alone, and the broker's cached keys.
//!
//! `cargo run --profile dist --example memory -- BROKER` with the path of the broker's program. Both servers use
//! jemalloc as the broker sets it up. Each connection makes one request and stays open. The figures are differences of
//! resident memory, so that the programs themselves do not count.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::print_stdout,
    reason = "a benchmark"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser as _;

use self::client::{Client, Target, Transport};
use self::process::Server;

#[path = "../../tests/certificates/mod.rs"]
mod certificates;
mod client;
mod files;
mod process;
mod raw;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Connections before the first measurement: they pay for what a server makes once. So does a tenth of the keys.
const WARM_UP: usize = 50;
/// Calls in flight while keys are cached; the broker starts with 8 calls to AWS.
const FETCHES: usize = 8;
/// Time for the allocator to return what was freed.
const SETTLE: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Parser)]
struct Arguments {
    /// The broker's program
    broker: PathBuf,
    /// Idle connections of each kind
    #[arg(long, default_value_t = 1_000)]
    connections: usize,
    /// Cached keys
    #[arg(long, default_value_t = 10_000)]
    keys: usize,
    /// Connections of a burst, which leaves
    #[arg(long, default_value_t = 2_000)]
    burst: usize,
    /// Requests of each connection of the burst
    #[arg(long, default_value_t = 10)]
    requests: usize,
}

/// A server, and where its clients connect.
struct Measured {
    server: Server,
    target: Target,
}

fn main() {
    // The program is also the server to compare with.
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [flag, transport, place] = arguments.as_slice()
        && flag == "raw-server"
    {
        return raw::serve(Transport::named(transport), Path::new(place));
    }
    let arguments = Arguments::parse();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(measure(&arguments));
}

async fn measure(arguments: &Arguments) {
    let directory = files::write();
    let place = directory.path();
    let itself = std::env::current_exe().unwrap();
    let raw = |transport| Measured::new(Server::raw(&itself, transport, place), transport, place);
    let broker = |transport| Measured::new(Server::broker(&arguments.broker, transport, place), transport, place);
    println!(
        "       idle connection, KB: hyper, broker, ratio; broker before, with and after {} connections, MB",
        arguments.burst
    );
    for transport in Transport::ALL {
        let [of_hyper, of_broker] = [
            raw(transport).connection(arguments.connections).await,
            broker(transport).connection(arguments.connections).await,
        ];
        let [idle, open, left] = broker(transport).burst(arguments).await;
        println!(
            "{:<6} {of_hyper:.1} {of_broker:.1} {:.2}; {idle:.1} {open:.1} {left:.1}",
            transport.name(),
            of_broker / of_hyper
        );
    }
    println!("key    {:.2} KB", broker(Transport::Unix).key(arguments.keys).await);
}

impl Measured {
    fn new(server: Server, transport: Transport, place: &Path) -> Self {
        let target = Target::new(transport, server.address(), place);
        Self { server, target }
    }

    /// Opens connections; each makes a request.
    async fn open(&self, count: usize) -> Vec<Client> {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            let mut client = self.target.connect().await;
            client.get(client::ACCOUNT).await;
            clients.push(client);
        }
        clients
    }

    /// Returns the resident memory once the allocator has returned what was freed.
    async fn settled(&self) -> i64 {
        tokio::time::sleep(SETTLE).await;
        self.server.resident()
    }

    /// Returns the memory of an idle connection in KB.
    async fn connection(self, count: usize) -> f64 {
        let warm = self.open(WARM_UP).await;
        let before = self.settled().await;
        let more = self.open(count).await;
        let after = self.settled().await;
        drop((warm, more));
        kilobytes(after - before, count)
    }

    /// Returns the memory of a cached key in KB. Each is of another account.
    async fn key(self, count: usize) -> f64 {
        let (mut clients, warm) = (self.open(FETCHES).await, count / 10);
        fetch(&mut clients, 0, warm).await;
        let before = self.settled().await;
        fetch(&mut clients, warm, count).await;
        kilobytes(self.settled().await - before, count)
    }

    /// Returns the memory in MB before, during and after connections that make requests and leave.
    async fn burst(self, arguments: &Arguments) -> [f64; 3] {
        drop(self.open(WARM_UP).await);
        let idle = self.settled().await;
        let mut clients = self.open(arguments.burst).await;
        for client in &mut clients {
            for _ in 1..arguments.requests {
                client.get(client::ACCOUNT).await;
            }
        }
        let open = self.server.resident();
        drop(clients);
        [idle, open, self.settled().await].map(|bytes| kilobytes(bytes, 1_000))
    }
}

/// Requests `count` keys from `first` on, by all clients at once.
async fn fetch(clients: &mut [Client], first: usize, count: usize) {
    let share = count.div_ceil(clients.len());
    let work = clients.iter_mut().enumerate().map(|(index, client)| async move {
        for key in index * share..count.min((index + 1) * share) {
            client.get(&format!("{:012}", first + key)).await;
        }
    });
    futures_util::future::join_all(work).await;
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn kilobytes(bytes: i64, count: usize) -> f64 {
    bytes as f64 / 1_000.0 / count as f64
}
