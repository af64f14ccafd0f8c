//! Connections of the AWS API: HTTP/1.1, which is what AWS's SDKs speak, and a time for everything that a peer does.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::Shutdown;
use super::accept::take_connections;
use super::connection::{ConnectionPermit, Connections};
use super::http1::write_timeout::WriteTimeout;
use super::listener::{Accepted, Listener};
use crate::api::ecr::AwsApi;

/// A request's head has this long to come, and a connection to ask for something again.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of a request is buffered, and so how long its head can be: a session's token is one of its headers.
const BUFFER: usize = 64 * 1024;

/// All that a new connection needs.
#[derive(Debug, Clone)]
pub(super) struct AwsApiDoor {
    /// Counted with those of the other listeners.
    pub(super) connections: Connections,
    pub(super) api: AwsApi,
    pub(super) steps: Shutdown,
    /// How old a connection becomes, about.
    pub(super) age: Duration,
}

impl AwsApiDoor {
    /// Takes connections until the drain begins; the listener closes with it.
    pub(super) async fn accept(self, listener: Listener, tracker: TaskTracker) {
        let start = |accepted, _, place| match accepted {
            Accepted::Tcp(stream, _) => _ = tracker.spawn(self.clone().hold(stream, place)),
            Accepted::Unix(..) => debug!("a connection was closed: the AWS API has no Unix socket"),
        };
        take_connections(listener, &self.connections, &self.steps, start).await;
    }

    async fn hold(self, stream: TcpStream, place: ConnectionPermit) {
        self.serve(stream).await;
        drop(place);
    }

    /// Serves one connection to its end: the peer's, that of its age or of the drain when its request is answered, that of our patience
    /// with the peer, or the abort's.
    async fn serve(self, stream: TcpStream) {
        let (api, steps) = (&self.api, &self.steps);
        let answer = service_fn(|request| async move { Ok::<_, Infallible>(api.answer(request, &steps.cut).await) });
        let mut builder = Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(BUFFER);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(WriteTimeout::new(stream)), answer));
        // A tenth more or less, so that connections that were made together do not end together.
        let mut age = pin!(tokio::time::sleep(self.age.mul_f64(0.9 + 0.2 * fastrand::f64())));
        let mut ending = false;
        let ended = loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => break ended,
                () = steps.abort.cancelled() => return,
                () = steps.drain.cancelled(), if !ending => {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = age.as_mut(), if !ending => {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        };
        if let Err(error) = ended {
            debug!(%error, "a connection of the AWS API ended badly");
        }
    }
}
