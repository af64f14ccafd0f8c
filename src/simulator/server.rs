//! The listener of the simulated AWS.

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

use super::controls::Controls;
use super::route;
use super::settings::Settings;
use super::simulated_aws::SimulatedAws;

/// The most connections served at once; further ones wait in the listen queue.
const MAX_CONNECTIONS: usize = 1024;
/// The read buffer, and so the longest request head. A web identity token fits.
const READ_BUFFER: usize = 64 * 1024;
/// The pause after a failed accept: with a full file table an immediate retry would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The simulated AWS, bound to an address and not yet serving.
#[derive(Debug)]
pub struct Simulator {
    listener: TcpListener,
    address: SocketAddr,
    aws: Arc<SimulatedAws>,
}

impl Simulator {
    /// Listens on `address`. Clients may connect from now on and get responses once it runs.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn bind(address: SocketAddr, settings: Settings) -> io::Result<Self> {
        let aws = Arc::new(SimulatedAws::new(settings)?);
        let listener = TcpListener::bind(address).await?;
        Ok(Self { address: listener.local_addr()?, listener, aws })
    }

    /// Returns the listen address. `http://` and this address is the endpoint of all three services.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns a handle that counts calls and changes the behaviour, before and while the simulator runs.
    #[must_use]
    pub fn controls(&self) -> Controls {
        Controls::new(Arc::clone(&self.aws))
    }

    /// Serves until `shutdown`, then stops accepting and drops the connections with their requests.
    pub async fn run_until(self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = pin!(shutdown);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                stream = accept(&self.listener), if connections.len() < MAX_CONNECTIONS => {
                    connections.spawn(serve(stream, Arc::clone(&self.aws)));
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
                tracing::debug!(%error, "simulated AWS failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, aws: Arc<SimulatedAws>) {
    // Nagle's algorithm holds back small responses until the client's delayed acknowledgement. A failure only costs latency.
    let _ = stream.set_nodelay(true);
    let respond = service_fn(move |request| {
        let aws = Arc::clone(&aws);
        async move { Ok::<_, Infallible>(route::respond(&aws, request).await) }
    });
    let mut http = http1::Builder::new();
    let http = http.timer(TokioTimer::new()).max_buf_size(READ_BUFFER);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), respond).await {
        tracing::debug!(%error, "connection to the simulated AWS failed");
    }
}
