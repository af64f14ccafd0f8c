//! What every call passes on its way in and out: a request id, a span, a deadline, and a net under panics.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::Either;
use futures_util::{FutureExt as _, TryFutureExt as _};
use http::{Extensions, HeaderMap, Request, Response};
use opentelemetry::trace::TraceId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::methods::Method;
use super::status::{self, Subject, refuse};
use super::trace::{self, Tracing};
use crate::authn::jwt::Issuers;
use crate::authn::{self, Authenticator, AuthnState, Bearer, Peer};
use crate::caller::Caller;
use crate::error::BrokerError;
use crate::limits::{Limits, Origin};
use crate::request_id::RequestId;

/// No call waits longer, whatever its deadline says; a caller without a deadline gets this one.
const LONGEST_CALL: Duration = Duration::from_secs(30);
/// What is enough to put a batch together and send it.
const LAST_MOMENT: Duration = Duration::from_millis(200);

/// What the edge knows of a call, for its handler.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// Names it in errors and logs.
    pub(super) id: RequestId,
    /// Who makes it, or why that is not known.
    pub(super) caller: Result<Caller, BrokerError>,
    /// What proved who makes it.
    pub(super) standing: AuthnState,
    /// When its caller leaves.
    pub(super) deadline: Instant,
    /// The same as the caller has it, however far off that is.
    pub(super) own_deadline: Option<Instant>,
    /// The caller's trace, whether or not it is recorded.
    pub(super) trace: Option<TraceId>,
}

/// What the caller of a stream is told that ends because the broker does.
#[must_use]
pub fn cut_short(extensions: &Extensions) -> Status {
    let error = BrokerError::ShuttingDown;
    extensions.get().map_or_else(
        || Status::unavailable(error.to_string()),
        |call| status::quietly(&error, &Subject::default(), call),
    )
}

/// Puts every call of a service behind the edge.
#[derive(Debug, Clone)]
pub struct Middleware {
    tracing: Arc<Tracing>,
    authenticator: Authenticator,
    cut: CancellationToken,
}

/// A service behind the edge.
#[derive(Debug, Clone)]
pub struct MiddlewareService<S> {
    inner: S,
    edge: Middleware,
    /// Who is at the other end, and where that is.
    peer: (Peer, Origin),
}

impl Middleware {
    /// Tokens of `issuers` are taken, within `limits`. When `cut` is cancelled, calls that are still waiting are answered with
    /// `SHUTTING_DOWN`.
    #[must_use]
    pub fn new(tracing: Tracing, issuers: Option<Arc<Issuers>>, limits: Limits, cut: CancellationToken) -> Self {
        Self { tracing: Arc::new(tracing), authenticator: Authenticator { issuers, limits }, cut }
    }
}

impl Call {
    fn of(headers: &HeaderMap, peer: &Peer) -> Self {
        let (asked, now) = (deadline(headers), Instant::now());
        Self {
            id: RequestId::random(),
            caller: peer.caller(),
            standing: AuthnState::of_connection(peer.clone()),
            deadline: now + asked.map_or(LONGEST_CALL, |asked| asked.min(LONGEST_CALL)),
            own_deadline: asked.and_then(|asked| now.checked_add(asked)),
            trace: trace::callers_trace(headers),
        }
    }

    /// The deadline of each of several things that the call asks for: a little earlier, so that what is ready by then still goes
    /// out beside what is not.
    pub(super) fn deadline_of_a_part(&self) -> Instant {
        let now = Instant::now();
        let rest = self.deadline.saturating_duration_since(now);
        now + rest - (rest / 10).min(LAST_MOMENT)
    }
}

impl<S> MiddlewareService<S> {
    /// The same service for one connection.
    #[must_use]
    pub fn for_peer(self, peer: Peer, origin: Origin) -> Self {
        Self { peer: (peer, origin), ..self }
    }
}

impl<S> Layer<S> for Middleware {
    type Service = MiddlewareService<S>;

    fn layer(&self, inner: S) -> MiddlewareService<S> {
        let nobody = (Peer::Unknown("nobody said so"), Origin::Uid(u32::MAX));
        MiddlewareService { inner, edge: self.clone(), peer: nobody }
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
        let known = Call::of(request.headers(), &self.peer.0);
        let span = self.edge.tracing.span(&request, &known);
        let cut = self.edge.cut.clone();
        let answer = AssertUnwindSafe(self.answer(request, known.clone(), bearer)).catch_unwind();
        let call = async move {
            // The answer first: what is ready goes out, however late it is.
            let outcome = tokio::select! {
                biased;
                answer = answer => answer.map_err(|_| BrokerError::Internal),
                () = cut.cancelled() => Err(BrokerError::ShuttingDown),
                () = tokio::time::sleep_until(known.deadline) => Err(BrokerError::Deadline),
            };
            Ok(match outcome {
                Ok(Ok(response)) => response,
                Err(error) => refuse(&error, &Subject::default(), &known).into_http(),
            })
        };
        if span.is_disabled() {
            return Box::pin(call);
        }
        let seen = span.clone();
        Box::pin(call.inspect_ok(move |response| record(&seen, response)).instrument(span))
    }
}

impl<S> MiddlewareService<S> {
    /// The service's answer, once it is known who asks; that of a token takes a moment.
    fn answer<B>(
        &mut self,
        mut request: Request<B>,
        mut call: Call,
        bearer: Option<Bearer>,
    ) -> Either<S::Future, impl Future<Output = Result<S::Response, S::Error>> + use<S, B>>
    where
        S: Service<Request<B>> + Clone,
    {
        let Some(bearer) = bearer else {
            request.extensions_mut().insert(call);
            return Either::Left(self.inner.call(request));
        };
        // The one that is ready, not the clone that takes its place.
        let mut inner = self.inner.clone();
        std::mem::swap(&mut inner, &mut self.inner);
        let (authenticator, (peer, origin)) = (self.edge.authenticator.clone(), self.peer.clone());
        Either::Right(async move {
            call.caller = authenticator.authenticate(&peer, origin, bearer).await.map(|(caller, standing)| {
                call.standing = standing;
                caller
            });
            request.extensions_mut().insert(call);
            inner.call(request).await
        })
    }
}

fn record(span: &tracing::Span, response: &Response<Body>) {
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
    trace::record_end(span, code);
}

/// The caller's deadline: `grpc-timeout`, at most eight digits and a unit.
fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || number.len() > 8 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_read_as_the_protocol_has_it() {
        for (text, expected) in [
            ("30m", Some(Duration::from_millis(30))),
            ("1H", Some(Duration::from_hours(1))),
            ("2M", Some(Duration::from_mins(2))),
            ("5S", Some(Duration::from_secs(5))),
            ("99999999H", Some(Duration::from_hours(99_999_999))),
            ("7u", Some(Duration::from_micros(7))),
            ("7n", Some(Duration::from_nanos(7))),
            ("123456789S", None),
            ("S", None),
            ("", None),
            ("5", None),
            ("-5S", None),
            ("5é", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", http::HeaderValue::from_bytes(text.as_bytes()).expect("a header value"));
            assert_eq!(deadline(&headers), expected, "{text}");
        }
    }
}
