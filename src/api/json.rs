//! JSON API: one registry's credentials over HTTP/1.1, for programs that speak no gRPC, such as the webhook generator of External
//! Secrets.
//!
//! It translates. A request becomes a call of `GetRegistryCredentials` in this process, through the middleware of gRPC, and the
//! response becomes JSON. So authentication, limits, grants, audit records, deadlines, spans and metrics are those of gRPC, and
//! nothing here can leave one out.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::Service;
use tracing::error;

use self::unreadable::Unreadable;
use crate::api::grpc::middleware::MiddlewareService;
use crate::api::host;
use crate::api::request::{self, BODY_TIMEOUT, MAX_DURATION};
use crate::caller::DnsName;

mod answer;
mod call;
mod read;
mod unreadable;

/// Time for a whole request. The call in it ends earlier, with the better error.
const MAX_TIME: Duration = BODY_TIMEOUT.saturating_add(MAX_DURATION).saturating_add(Duration::from_secs(1));

/// The JSON API. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub(crate) struct JsonApi {
    hosts: Arc<[DnsName]>,
}

impl JsonApi {
    /// Returns the API of a broker that is reached by the names `hosts`, beside `localhost` and IP addresses.
    pub(crate) fn new(hosts: &[DnsName]) -> Self {
        Self { hosts: hosts.into() }
    }

    /// Responds to one request by calling `service`, which is that of the connection. Cancelling `force_shutdown` ends a waiting
    /// request with an error.
    ///
    /// With `needs_host` the request must name a host of the broker. No browser connects to a Unix socket.
    pub(crate) async fn respond<S>(
        &self,
        service: MiddlewareService<S>,
        request: Request<Incoming>,
        needs_host: bool,
        force_shutdown: &CancellationToken,
    ) -> Response<Full<Bytes>>
    where
        S: Service<Request<Full<Bytes>>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        let headers = request.headers().clone();
        let handled = self.handle(service.clone(), request, needs_host);
        match request::run(handled, Instant::now() + MAX_TIME, force_shutdown.clone()).await {
            Ok(response) => response,
            Err(error) => {
                error!(%error, "JSON API request failed");
                answer::of(call::outcome(service.refuse(&headers, &error)).await)
            }
        }
    }

    async fn handle<S>(
        &self,
        mut service: MiddlewareService<S>,
        request: Request<Incoming>,
        needs_host: bool,
    ) -> Response<Full<Bytes>>
    where
        S: Service<Request<Full<Bytes>>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        let unknown_host = needs_host && !host::is_accepted(&request, &self.hosts);
        let (head, body) = request.into_parts();
        let message = if unknown_host { Err(Unreadable::host()) } else { read::message(&head, body).await };
        match message {
            Ok(message) => {
                let Ok(response) = service.call(call::request(&message, &head.headers)).await;
                answer::of(call::outcome(response).await)
            }
            Err(unreadable) => {
                let refused = service.refuse(&head.headers, &unreadable.error());
                unreadable.answer(answer::of(call::outcome(refused).await))
            }
        }
    }
}
