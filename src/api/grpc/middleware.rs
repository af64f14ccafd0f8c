//! Middleware of every gRPC call: request ID, span, authentication, time limit, and errors as statuses.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use futures_util::{FutureExt as _, TryFutureExt as _};
use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::call::Call;
use super::methods::Method;
use super::status::{ErrorContext, to_status};
use super::trace::{self, Tracing};
use crate::api::request;
use crate::authn::jwt::Issuers;
use crate::authn::{self, Authenticator, Bearer, Peer};
use crate::limits::{Limits, Origin};
use crate::rejections::RejectionRecorder;

/// Layer that prepares and guards every call of a service.
#[derive(Debug, Clone)]
pub struct Middleware {
    tracing: Arc<Tracing>,
    authenticator: Authenticator,
    rejections: RejectionRecorder,
    force_shutdown: CancellationToken,
}

/// A service behind the middleware.
#[derive(Debug, Clone)]
pub struct MiddlewareService<S> {
    inner: S,
    middleware: Middleware,
    peer: Peer,
    origin: Origin,
}

impl Middleware {
    /// Verifies bearer tokens of `issuers` within `limits`. Failed calls are recorded with `rejections`. Cancelling `force_shutdown` ends waiting calls with `SHUTTING_DOWN`.
    #[must_use]
    pub fn new(
        tracing: Tracing,
        issuers: Option<Arc<Issuers>>,
        limits: Limits,
        rejections: RejectionRecorder,
        force_shutdown: CancellationToken,
    ) -> Self {
        let authenticator = Authenticator { issuers, limits };
        Self { tracing: Arc::new(tracing), authenticator, rejections, force_shutdown }
    }
}

impl<S> MiddlewareService<S> {
    /// Returns the same service for the calls of one connection.
    #[must_use]
    pub fn for_peer(self, peer: Peer, origin: Origin) -> Self {
        Self { peer, origin, ..self }
    }
}

impl<S> Layer<S> for Middleware {
    type Service = MiddlewareService<S>;

    fn layer(&self, inner: S) -> MiddlewareService<S> {
        let peer = Peer::Unknown("the connection has no peer");
        MiddlewareService { inner, middleware: self.clone(), peer, origin: Origin::Uid(u32::MAX) }
    }
}

impl<S, B> Service<Request<B>> for MiddlewareService<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let method = Method::of(request.uri().path());
        let bearer = authn::take_bearer(request.headers_mut()).filter(|_| method.authenticated);
        let (peer, rejections) = ((&self.peer, self.origin), self.middleware.rejections.clone());
        let call = Arc::new(Call::new(request.headers(), peer, bearer.is_some(), rejections));
        let span = self.middleware.tracing.span(method, request.headers(), &call);
        let handler = self.handle(request, Arc::clone(&call), bearer);
        let outcome = request::run(handler, call.deadline, self.middleware.force_shutdown.clone());
        let response = outcome.map(move |outcome| match outcome {
            Ok(response) => response,
            Err(error) => Ok(to_status(&error, &ErrorContext::default(), &call).into_http()),
        });
        if span.is_disabled() {
            return Box::pin(response);
        }
        let recorded = span.clone();
        Box::pin(response.inspect_ok(move |response| trace::record_end(&recorded, code(response))).instrument(span))
    }
}

impl<S> MiddlewareService<S> {
    /// Passes the call to the inner service, once its bearer token is verified.
    fn handle<B>(
        &mut self,
        mut request: Request<B>,
        call: Arc<Call>,
        bearer: Option<Bearer>,
    ) -> Either<S::Future, impl Future<Output = Result<S::Response, S::Error>> + use<S, B>>
    where
        S: Service<Request<B>> + Clone,
    {
        let Some(bearer) = bearer else {
            request.extensions_mut().insert(call);
            return Either::Left(self.inner.call(request));
        };
        // `poll_ready` was called on this service, not on its clone.
        let mut inner = self.inner.clone();
        std::mem::swap(&mut inner, &mut self.inner);
        let (authenticator, peer, origin) = (self.middleware.authenticator.clone(), self.peer.clone(), self.origin);
        Either::Right(async move {
            let mut call = Arc::unwrap_or_clone(call);
            call.caller = authenticator.authenticate(&peer, origin, bearer).await.map(|(caller, authn)| {
                call.authn = authn;
                caller
            });
            request.extensions_mut().insert(Arc::new(call));
            inner.call(request).await
        })
    }
}

fn code(response: &Response<Body>) -> Code {
    Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
}
