//! Middleware of every gRPC call: request ID, span, authentication, time limit, and errors as statuses.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use futures_util::{FutureExt as _, TryFutureExt as _};
use http::{HeaderMap, Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::admitted::{AdmittedCall, Refusal};
use super::anonymous;
use super::call::{Call, MAX_HEADER_FIELDS};
use super::fast_path::{self, ConnectionFastPath, FastPath};
use super::forwarded;
use super::methods::Method;
use super::metrics;
use super::status::{ErrorContext, to_status};
use super::trace;
use crate::api::calls::Calls;
use crate::api::request;
use crate::api::trace::Tracing;
use crate::authn::jwt::Issuers;
use crate::authn::{self, Authenticator, Bearer, Forwarded, Peer};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::limits::{Limits, Origin, Unproved, UnprovedCall};
use crate::rejections::RejectionRecorder;

/// Layer that prepares and guards every call of a service.
#[derive(Debug, Clone)]
pub struct Middleware {
    tracing: Arc<Tracing>,
    authenticator: Authenticator,
    rejections: RejectionRecorder,
    force_shutdown: CancellationToken,
    calls: Calls,
    fast_path: Option<FastPath>,
}

/// A service behind the middleware.
#[derive(Debug, Clone)]
pub struct MiddlewareService<S> {
    inner: S,
    /// Shared: each connection has a service, and moves it several times.
    middleware: Arc<Middleware>,
    peer: Peer,
    origin: Origin,
    /// The limits of the connection, if its peer proved nothing when it was made.
    unproved: Option<Unproved>,
}

impl Middleware {
    /// Verifies bearer tokens of `issuers` within `limits`. Failed calls are recorded with `rejections`, all with `calls`. Cancelling `force_shutdown` ends waiting calls with `SHUTTING_DOWN`.
    #[must_use]
    pub fn new(
        tracing: Tracing,
        issuers: Option<Arc<Issuers>>,
        limits: Limits,
        rejections: RejectionRecorder,
        force_shutdown: CancellationToken,
        calls: Calls,
    ) -> Self {
        let authenticator = Authenticator { issuers, keeps_tokens: false, limits };
        Self { tracing: Arc::new(tracing), authenticator, rejections, force_shutdown, calls, fast_path: None }
    }
}

impl Middleware {
    /// Keeps the bearer tokens of calls while they last, if a parent broker verifies them, too.
    #[must_use]
    pub fn keeping_tokens(mut self, keeps_tokens: bool) -> Self {
        self.authenticator.keeps_tokens = keeps_tokens;
        self
    }

    /// Answers repeated cache hits of `broker` in front of the services.
    #[must_use]
    pub fn with_fast_path(self, broker: Arc<Broker>) -> Self {
        let parts = fast_path::Parts {
            broker,
            limits: self.authenticator.limits.clone(),
            tracing: Arc::clone(&self.tracing),
            calls: self.calls.clone(),
            rejections: self.rejections.clone(),
            force_shutdown: self.force_shutdown.clone(),
        };
        Self { fast_path: Some(FastPath::new(parts)), ..self }
    }
}

impl<S> MiddlewareService<S> {
    /// Returns the same service for the calls of one connection.
    #[must_use]
    pub fn for_peer(self, peer: Peer, origin: Origin, unproved: Option<Unproved>) -> Self {
        Self { peer, origin, unproved, ..self }
    }

    /// Returns the same middleware for another front end: `front` makes it from the service, and it gets the admitted calls.
    pub(crate) fn map_service<T>(self, front: impl FnOnce(S) -> T) -> MiddlewareService<T> {
        let Self { inner, middleware, peer, origin, unproved } = self;
        MiddlewareService { inner: front(inner), middleware, peer, origin, unproved }
    }

    /// Returns the fast path of the connection, if there is one.
    pub(crate) fn fast_path(&self) -> Option<ConnectionFastPath> {
        self.middleware.fast_path.as_ref().map(|path| path.for_peer(self.peer.clone(), self.origin))
    }
}

type Outcome = Result<Response<Body>, Infallible>;

/// The call of an authenticated peer, or any other. The others are boxed: every call moves this several times.
type Handler<F> = Either<F, Pin<Box<dyn Future<Output = Outcome> + Send>>>;

impl<S> Layer<S> for Middleware {
    type Service = MiddlewareService<S>;

    fn layer(&self, inner: S) -> MiddlewareService<S> {
        let peer = Peer::Unknown("the connection has no peer");
        MiddlewareService {
            inner,
            middleware: Arc::new(self.clone()),
            peer,
            origin: Origin::Uid(u32::MAX),
            unproved: None,
        }
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
        let forwarded = authn::take_forwarded(request.headers_mut()).filter(|_| method.authenticated);
        let (peer, rejections) = ((&self.peer, self.origin), self.middleware.rejections.clone());
        let call = Arc::new(Call::new(request.headers(), peer, bearer.is_some(), rejections));
        let span = trace::span(&self.middleware.tracing, method, request.headers(), &call);
        let in_flight = self.middleware.calls.begin(method, call.started);
        let handler = self.handle(request, method, Arc::clone(&call), (bearer, forwarded));
        let outcome = request::run(handler, call.deadline, self.middleware.force_shutdown.clone());
        let response = outcome.map(move |outcome| {
            let response = match outcome {
                Ok(response) => response?,
                Err(error) => response_of(&error, &call),
            };
            Ok(metrics::respond(in_flight, method, response))
        });
        if span.is_disabled() {
            return Box::pin(response);
        }
        let recorded = span.clone();
        Box::pin(response.inspect_ok(move |response| trace::record_end(&recorded, code(response))).instrument(span))
    }
}

impl<S> MiddlewareService<S> {
    /// Passes the call to the inner service, once its caller is known and admitted. Otherwise refuses it, and its message is not read.
    fn handle<B>(
        &mut self,
        mut request: Request<B>,
        method: &'static Method,
        call: Arc<Call>,
        (bearer, forwarded): (Option<Bearer>, Option<Result<Forwarded, BrokerError>>),
    ) -> Handler<S::Future>
    where
        S: Service<Request<B>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Send + 'static,
    {
        if let Err(error) = check_headers(request.headers()) {
            return refuse(&(error, call));
        }
        if let Some(forwarded) = forwarded {
            return Either::Right(Box::pin(self.with_forwarded(request, call, forwarded, bearer.is_some())));
        }
        let unproved = self.unproved.as_ref().filter(|connection| !connection.is_proved());
        match bearer {
            Some(bearer) => {
                let unproved = unproved.map(|connection| begin(connection, &request));
                Either::Right(Box::pin(self.with_token(request, call, bearer, unproved)))
            }
            None if method.authenticated => match self.middleware.admit_peer(self.origin, call) {
                Ok(admitted) => {
                    request.extensions_mut().insert(admitted);
                    Either::Left(self.inner.call(request))
                }
                Err(refusal) => refuse(&refusal),
            },
            None => {
                let unproved = unproved.map(|connection| begin(connection, &request));
                request.extensions_mut().insert(Arc::clone(&call));
                let Some(unproved) = unproved else { return Either::Left(self.inner.call(request)) };
                let served = anonymous::serve(self.take_inner(), request, unproved, method);
                Either::Right(Box::pin(served.map(move |served| match served {
                    Ok(response) => Ok(response),
                    Err(error) => Ok(response_of(&error, &call)),
                })))
            }
        }
    }

    /// Verifies the bearer token of a call.
    fn with_token<B>(
        &mut self,
        mut request: Request<B>,
        call: Arc<Call>,
        bearer: Bearer,
        unproved: Option<(Unproved, UnprovedCall)>,
    ) -> impl Future<Output = Outcome> + use<S, B>
    where
        S: Service<Request<B>, Response = Response<Body>, Error = Infallible> + Clone,
    {
        let mut inner = self.take_inner();
        let (middleware, peer, origin) = (Arc::clone(&self.middleware), self.peer.clone(), self.origin);
        async move {
            let slot = match &unproved {
                Some((connection, _)) => connection.slot().await,
                None => None,
            };
            let mut call = Arc::unwrap_or_clone(call);
            call.caller = middleware.authenticator.authenticate(&peer, origin, bearer).await.map(|(caller, authn)| {
                call.authn = authn;
                caller
            });
            let call = Arc::new(call);
            if let (Ok(_), Some((connection, _))) = (&call.caller, &unproved) {
                connection.note_proved();
            }
            drop((slot, unproved));
            match AdmittedCall::admit(&middleware.authenticator.limits, call) {
                Ok(admitted) => {
                    request.extensions_mut().insert(admitted);
                    inner.call(request).await
                }
                Err(refusal) => Ok(response_of(&refusal.0, &refusal.1)),
            }
        }
    }

    /// Verifies the caller that a child broker forwards. A peer without a certificate is refused unverified.
    fn with_forwarded<B>(
        &mut self,
        mut request: Request<B>,
        call: Arc<Call>,
        forwarded: Result<Forwarded, BrokerError>,
        has_token: bool,
    ) -> impl Future<Output = Outcome> + use<S, B>
    where
        S: Service<Request<B>, Response = Response<Body>, Error = Infallible> + Clone,
    {
        let mut inner = self.take_inner();
        let (middleware, peer, origin) = (Arc::clone(&self.middleware), self.peer.clone(), self.origin);
        async move {
            let (call, authenticator) = (Arc::unwrap_or_clone(call), &middleware.authenticator);
            let admitted = forwarded::admit(authenticator, (&peer, origin), call, forwarded, has_token).await;
            match admitted {
                Ok(admitted) => {
                    request.extensions_mut().insert(admitted);
                    inner.call(request).await
                }
                Err(refusal) => Ok(response_of(&refusal.0, &refusal.1)),
            }
        }
    }

    /// Returns the service on which `poll_ready` was called, and leaves its clone.
    fn take_inner(&mut self) -> S
    where
        S: Clone,
    {
        let mut inner = self.inner.clone();
        std::mem::swap(&mut inner, &mut self.inner);
        inner
    }
}

impl Middleware {
    /// Admits a call by what its connection proves. A call without any proof counts as a failure of its origin.
    fn admit_peer(&self, origin: Origin, call: Arc<Call>) -> Result<AdmittedCall, Refusal> {
        if call.caller.is_err()
            && let Err(limited) = self.authenticator.record_missing(origin)
        {
            return Err(Box::new((limited, call)));
        }
        AdmittedCall::admit(&self.authenticator.limits, call)
    }
}

/// Counts a call of an unproved connection.
fn begin<B>(connection: &Unproved, request: &Request<B>) -> (Unproved, UnprovedCall) {
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    (connection.clone(), UnprovedCall::begin(connection, headers))
}

/// Refuses a call with more headers than any client sends. Each takes memory, however short it is.
fn check_headers(headers: &HeaderMap) -> Result<(), BrokerError> {
    if headers.len() <= MAX_HEADER_FIELDS {
        return Ok(());
    }
    let problem = format!("{} header fields; send at most {MAX_HEADER_FIELDS}", headers.len());
    Err(BrokerError::RequestInvalid { field: "headers", problem })
}

fn refuse<F>((error, call): &(BrokerError, Arc<Call>)) -> Handler<F> {
    let response = response_of(error, call);
    Either::Right(Box::pin(std::future::ready(Ok(response))))
}

fn response_of(error: &BrokerError, call: &Call) -> Response<Body> {
    to_status(error, &ErrorContext::default(), call).into_http()
}

fn code(response: &Response<Body>) -> Code {
    Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
}
