//! An HTTP/1.1 connection, within limits of time and memory.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, Connection};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::write_timeout::WriteTimeout;
use crate::server::lifetime::Lifetime;

/// Time for the head of a request to arrive, and for a next request to begin.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves requests, one after another, until the peer or the lifetime ends the connection.
///
/// `buffer` is the memory for what the peer sends, which also limits the head of a request. `what` names the connection in the log.
pub(super) async fn serve<F: Future<Output = Response<Full<Bytes>>>>(
    io: impl AsyncRead + AsyncWrite + Unpin,
    buffer: usize,
    respond: impl Fn(Request<Incoming>) -> F,
    lifetime: &Lifetime,
    what: &'static str,
) {
    let service = service_fn(|request| {
        let response = respond(request);
        async { Ok::<_, Infallible>(response.await) }
    });
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(buffer);
    let connection = pin!(builder.serve_connection(TokioIo::new(WriteTimeout::new(io)), service));
    if let Err(error) = lifetime.run(connection, Connection::graceful_shutdown).await {
        debug!(%error, what, "HTTP/1.1 connection failed");
    }
}
