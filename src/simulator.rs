//! AWS as its SDKs see it, on loopback: Amazon ECR, ECR Public and STS over plain HTTP/1.1.
//!
//! A demo and a test upstream. It speaks the real wire protocols (JSON 1.1 and the query protocol), hands out tokens of the
//! true shape and size that open nothing, and fails in the ways AWS fails, at rates of one's choosing.
//!
//! It authenticates nobody: a call must be signed, and its signature must be scoped to the service it calls, but the
//! signature's value is not checked. Whoever signs with the credentials of a role that was assumed here is that role's session;
//! everyone else is one user of account 123456789012.
//!
//! Nothing here prints or logs a token.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use self::simulated_aws::SimulatedAws;

mod controls;
mod ecr;
mod fault;
mod query;
mod role;
mod route;
mod session;
mod simulated_aws;
mod sts;
mod token;
mod trouble;
mod web_identity;

pub use self::controls::Controls;
pub use self::fault::{Fault, FaultRate, FaultRateError, UnknownFault};
pub use self::simulated_aws::Service;

/// How many connections are served at once; those beyond wait in the listen queue.
const CONNECTIONS: usize = 1024;
/// How much of a request is buffered, and so how long its head can be; a web identity token fits.
const BUFFER: usize = 64 * 1024;
/// How long to leave a full file table alone: accepting at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How the simulated AWS behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long every call waits before its answer, or before its fault strikes.
    pub latency: Duration,
    /// How long registry tokens are good for; AWS's are for 12 hours.
    pub token_lifetime: Duration,
    /// What goes wrong, and how often: tried in order, the first that strikes decides the call.
    pub faults: Vec<FaultRate>,
}

/// The simulated AWS, bound to an address and not yet serving.
#[derive(Debug)]
pub struct Simulator {
    listener: TcpListener,
    address: SocketAddr,
    world: Arc<SimulatedAws>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { latency: Duration::ZERO, token_lifetime: Duration::from_hours(12), faults: Vec::new() }
    }
}

impl Simulator {
    /// Listens on `address`; clients may connect from now on, and are answered once it runs.
    ///
    /// # Errors
    /// Where the address cannot be listened on.
    pub async fn bind(address: SocketAddr, settings: Settings) -> io::Result<Self> {
        let world = Arc::new(SimulatedAws::new(settings)?);
        let listener = TcpListener::bind(address).await?;
        Ok(Self { address: listener.local_addr()?, listener, world })
    }

    /// Where it listens; the endpoint for all three services is `http://` and this.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle to count its calls and change its behaviour, before and while it runs.
    #[must_use]
    pub fn controls(&self) -> Controls {
        Controls::new(Arc::clone(&self.world))
    }

    /// Serves until `shutdown`, then stops accepting and drops the connections with whatever hangs on them.
    pub async fn run_until(self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = pin!(shutdown);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                stream = accept(&self.listener), if connections.len() < CONNECTIONS => {
                    connections.spawn(serve(stream, Arc::clone(&self.world)));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        connections.shutdown().await;
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::debug!(%error, "the simulated AWS cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, world: Arc<SimulatedAws>) {
    // Without it small answers wait for the client's delayed acknowledgement; where it cannot be set they are merely slow.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let world = Arc::clone(&world);
        async move { Ok::<_, Infallible>(route::answer(&world, request).await) }
    });
    let mut http = http1::Builder::new();
    let connection = http.timer(TokioTimer::new()).max_buf_size(BUFFER).serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the simulated AWS broke");
    }
}
