//! JSON API: one registry's credentials over HTTP/1.1, for programs that speak no gRPC, such as the webhook generator of External
//! Secrets.
//!
//! It translates. A request passes the middleware of gRPC as a call of `GetRegistryCredentials`. Once it is admitted, its message is
//! read and passed on to the handler of gRPC, and the response becomes JSON. So authentication, limits, grants, audit records,
//! deadlines, spans and metrics are those of gRPC, also for a request that cannot be read.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tower::{BoxError, Service};

use self::translation::Translation;
use self::unreadable::Unreadable;
use crate::api::grpc::middleware::MiddlewareService;
use crate::api::grpc::response_admission::ResponseAdmission;
use crate::caller::DnsName;

mod answer;
mod call;
mod read;
mod translation;
mod unreadable;

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

    /// Responds to one request by calling `service`, which is that of the connection.
    ///
    /// With `needs_host` the request must name a host of the broker. No browser connects to a Unix socket.
    pub(crate) async fn respond<S, B>(
        &self,
        service: MiddlewareService<S>,
        request: Request<B>,
        needs_host: bool,
    ) -> Response<Full<Bytes>>
    where
        S: Service<Request<Full<Bytes>>, Response = Response<tonic::body::Body>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send + 'static,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let hosts = needs_host.then(|| Arc::clone(&self.hosts));
        let mut service = service.map_service(|inner| Translation { inner, hosts });
        let Ok(mut response) = service.call(call::enter(request)).await;
        let unreadable = response.extensions_mut().remove::<Unreadable>();
        let admission = ResponseAdmission::detach(&mut response);
        let answer = answer::of(call::outcome(response).await, admission);
        match unreadable {
            Some(unreadable) => unreadable.answer(answer),
            None => answer,
        }
    }
}
