//! The front end behind the middleware: reads the message of an admitted call, and passes the call on.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tonic::body::Body;
use tower::{BoxError, Service, ServiceExt as _};

use super::unreadable::Unreadable;
use super::{call, read};
use crate::api::grpc::admitted;
use crate::api::host;
use crate::caller::DnsName;
use crate::pb::GetRegistryCredentialsRequest;

/// Translates the calls of one connection. The body of a call is the request of HTTP.
#[derive(Debug, Clone)]
pub(super) struct Translation<S> {
    /// The services of gRPC.
    pub(super) inner: S,
    /// The names of the broker; `None`: any host is accepted.
    pub(super) hosts: Option<Arc<[DnsName]>>,
}

impl<S, B> Service<Request<Request<B>>> for Translation<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The clone that answers a call waits for itself.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Request<Request<B>>) -> Self::Future {
        let Self { inner, hosts } = self.clone();
        let (head, request) = call.into_parts();
        Box::pin(async move {
            match message(request, hosts.as_deref()).await {
                Ok(message) => inner.oneshot(call::request(&message, head.extensions)).await,
                Err(unreadable) => Ok(refusal(unreadable, &head.extensions)),
            }
        })
    }
}

async fn message<B>(request: Request<B>, hosts: Option<&[DnsName]>) -> Result<GetRegistryCredentialsRequest, Unreadable>
where
    B: http_body::Body<Error: Into<BoxError>>,
{
    if hosts.is_some_and(|hosts| !host::is_accepted(&request, hosts)) {
        return Err(Unreadable::host());
    }
    let (head, body) = request.into_parts();
    read::message(&head, body).await
}

/// Returns the response of a request that cannot be read. Its status of HTTP travels in the extensions.
fn refusal(unreadable: Unreadable, call: &http::Extensions) -> Response<Body> {
    let mut response = admitted::unreadable(call, &unreadable.error()).into_http();
    response.extensions_mut().insert(unreadable);
    response
}
