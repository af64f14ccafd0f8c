//! The ECR API on HTTP/1.1.

use futures_util::future::BoxFuture;
use tracing::debug;

use super::connection;
use crate::api::ecr::EcrApi;
use crate::limits::Origin;
use crate::server::lifetime::Lifetime;
use crate::server::listener::Accepted;
use crate::server::protocol::Protocol;

/// Memory for a request. The session token of AWS credentials is one of its headers.
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
            let Accepted::Tcp(stream, _) = stream else {
                return debug!("connection rejected: the ECR API has no Unix socket");
            };
            let respond = |request| self.api.respond(request, lifetime.force_shutdown());
            connection::serve(stream, BUFFER, respond, lifetime, "ECR API").await;
        })
    }
}
