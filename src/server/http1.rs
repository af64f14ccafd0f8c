//! HTTP/1.1 connections: the ECR API, as AWS SDKs call it.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::server::conn::http1::{Builder, Connection};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tracing::debug;

use self::write_timeout::WriteTimeout;
use super::lifetime::Lifetime;
use super::listener::Accepted;
use super::protocol::Protocol;
use crate::api::ecr::EcrApi;
use crate::limits::Origin;

mod write_timeout;

/// Time for the head of a request to arrive, and for a next request to begin.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Buffer of a connection, which also limits the head of a request. The session token of AWS credentials is one of its headers.
const BUFFER: usize = 64 * 1024;

/// Serves the ECR API on every connection.
#[derive(Debug)]
pub(crate) struct EcrApiProtocol {
    api: EcrApi,
}

impl EcrApiProtocol {
    /// Serves `api`.
    pub(crate) fn new(api: EcrApi) -> Self {
        Self { api }
    }

    async fn serve_tcp(&self, stream: TcpStream, lifetime: &Lifetime) {
        let force_shutdown = lifetime.force_shutdown();
        let respond =
            service_fn(|request| async { Ok::<_, Infallible>(self.api.respond(request, force_shutdown).await) });
        let mut builder = Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(BUFFER);
        let connection = pin!(builder.serve_connection(TokioIo::new(WriteTimeout::new(stream)), respond));
        if let Err(error) = lifetime.run(connection, Connection::graceful_shutdown).await {
            debug!(%error, "ECR API connection failed");
        }
    }
}

impl Protocol for EcrApiProtocol {
    /// A scheme that no client of the gRPC API accepts.
    fn scheme(&self) -> &'static str {
        "aws+http"
    }

    fn loop_fix(&self) -> &'static str {
        "unset AWS_ENDPOINT_URL_ECR and AWS_ENDPOINT_URL_ECR_PUBLIC for the broker, or set aws.ecr_endpoint = \
         \"https://api.ecr.{region}.amazonaws.com\" and aws.ecr_public_endpoint = \
         \"https://api.ecr-public.us-east-1.amazonaws.com\""
    }

    /// Each request has the secret, and its peer is on this host.
    fn needs_proof(&self) -> bool {
        false
    }

    fn serve<'a>(&'a self, stream: Accepted, _: Origin, lifetime: &'a Lifetime) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            match stream {
                Accepted::Tcp(stream, _) => self.serve_tcp(stream, lifetime).await,
                Accepted::Unix(..) => debug!("connection rejected: the ECR API has no Unix socket"),
            }
        })
    }
}
