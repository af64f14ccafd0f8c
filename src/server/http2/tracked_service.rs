//! The service of one connection, with its bodies tracked: the fast path first, and then the services.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use tonic::body::Body;
use tonic::metadata::GRPC_CONTENT_TYPE;
use tower::ServiceExt as _;
use tower::util::Oneshot;

use super::body::{Account, RequestBody};
use super::call_memory::{self, CallMemory};
use super::peer_watchdog::{CallGuard, PeerWatchdog};
use super::response_body::ResponseBody;
use crate::api::grpc::fast_path::{Answer, ConnectionFastPath, Head, Hit, Verdict};
use crate::api::grpc::methods::Method;
use crate::api::grpc::response_admission::ResponseAdmission;
use crate::limits::{ConnectionMemory, Unproved};

/// The service of one connection. A clone of `inner` answers each call that the fast path does not.
#[derive(Debug)]
pub(super) struct TrackedService<S> {
    connection: Arc<TrackedConnection<S>>,
    unproved: Option<Unproved>,
    memory: ConnectionMemory,
    watchdog: PeerWatchdog,
}

#[derive(Debug)]
struct TrackedConnection<S> {
    inner: S,
    fast_path: Option<ConnectionFastPath>,
}

/// A call until its response begins.
pub(super) struct TrackedCall<S: tower::Service<Request<RequestBody>>> {
    state: State<S>,
    /// What the call counts for; none once its response has started.
    counted: Option<Counted>,
}

/// What a call counts for, beside its body.
struct Counted {
    call: CallGuard,
    memory: CallMemory,
}

#[allow(clippy::large_enum_variant, reason = "each call has one, in every state")]
enum State<S: tower::Service<Request<RequestBody>>> {
    /// The fast path looks at the request once, at the first poll.
    New {
        connection: Arc<TrackedConnection<S>>,
        head: Head,
        request: Request<RequestBody>,
    },
    /// The fast path answers it.
    Hit(Hit),
    /// A service answers it. Boxed: it is larger than the others, and hyper moves each call several times.
    Service(Box<Oneshot<S, Request<RequestBody>>>),
    Answered,
}

impl<S> TrackedService<S> {
    pub(super) fn new(
        inner: S,
        fast_path: Option<ConnectionFastPath>,
        watchdog: PeerWatchdog,
        unproved: Option<Unproved>,
        memory: ConnectionMemory,
    ) -> Self {
        Self { connection: Arc::new(TrackedConnection { inner, fast_path }), unproved, memory, watchdog }
    }

    /// Returns what a call counts for. An unproved connection counts its calls elsewhere.
    fn account(&self, method: &Method, headers: &HeaderMap) -> (Account, CallMemory) {
        if let Some(connection) = self.unproved() {
            return (Account::Unproved(connection.clone()), CallMemory::default());
        }
        let body = call_memory::body(&self.memory, method);
        (Account::Proved(body), CallMemory::of(&self.memory, method, headers))
    }

    fn unproved(&self) -> Option<&Unproved> {
        self.unproved.as_ref().filter(|connection| !connection.is_proved())
    }

    /// Returns what the fast path must know of a request; `None`: it is not for the fast path.
    fn fast_head<B>(&self, request: &Request<B>) -> Option<Head> {
        if self.connection.fast_path.is_none() || self.unproved().is_some() { None } else { Head::of(request) }
    }
}

/// The calls of hyper's service begin when the connection has read their headers, and those of a tower service only when their stream
/// is polled: too late to count, because the connection has read on by then.
impl<S> Service<Request<Incoming>> for TrackedService<S>
where
    S: tower::Service<Request<RequestBody>, Response = Response<Body>, Error = Infallible, Future: Unpin> + Clone,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = TrackedCall<S>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let method = Method::of(request.uri().path());
        let (account, memory) = self.account(method, request.headers());
        let head = self.fast_head(&request);
        let request = request.map(|inner| RequestBody::new(inner, account, method));
        let connection = &self.connection;
        let state = match head {
            Some(head) => State::New { connection: Arc::clone(connection), head, request },
            None => connection.serve(request),
        };
        TrackedCall { state, counted: Some(Counted { call: self.watchdog.begin_call(), memory }) }
    }
}

impl<S> TrackedConnection<S>
where
    S: tower::Service<Request<RequestBody>> + Clone,
{
    /// Begins a call by the fast path, if all of its message has arrived.
    fn begin(&self, head: Head, mut request: Request<RequestBody>, context: &mut Context<'_>) -> State<S> {
        let message = request.body_mut().peek(context);
        if let (Some(fast_path), Some(message)) = (&self.fast_path, message) {
            match fast_path.begin(head, request.headers(), message) {
                Verdict::Hit(hit) => return State::Hit(hit),
                Verdict::HandOver(hand_over) => hand_over.attach(request.extensions_mut()),
            }
        }
        self.serve(request)
    }

    /// Has a service answer a call.
    fn serve(&self, request: Request<RequestBody>) -> State<S> {
        State::Service(Box::new(self.inner.clone().oneshot(request)))
    }
}

impl Counted {
    fn respond(self, answer: Answer) -> Response<ResponseBody> {
        let Self { call, memory } = self;
        match answer {
            Answer::Credentials(message, admission) => {
                let mut response = Response::new(ResponseBody::of_message(message, call, admission));
                response.headers_mut().insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
                response
            }
            Answer::Response(mut response) => {
                let (admission, memory) = (ResponseAdmission::detach(&mut response), memory.after_headers());
                response.map(|inner| ResponseBody::of_service(inner, call, admission, memory))
            }
        }
    }
}

impl<S> Future for TrackedCall<S>
where
    S: tower::Service<Request<RequestBody>, Response = Response<Body>, Error = Infallible, Future: Unpin> + Clone,
    Self: Unpin,
{
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Later states stay where they are: they are large.
        if matches!(self.state, State::New { .. })
            && let State::New { connection, head, request } = std::mem::replace(&mut self.state, State::Answered)
        {
            self.state = connection.begin(head, request, context);
        }
        let answer = match &mut self.state {
            State::Hit(hit) => ready!(hit.poll(context)),
            State::Service(response) => Answer::Response(ready!(Pin::new(&mut **response).poll(context))?),
            State::New { .. } | State::Answered => return Poll::Pending,
        };
        self.state = State::Answered;
        let Some(counted) = self.counted.take() else { return Poll::Pending };
        Poll::Ready(Ok(counted.respond(answer)))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::pin::pin;
    use std::sync::Arc;

    use hyper::server::conn::http2::Builder;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::clock::SystemClock;
    use crate::limits::{BodyMemory, LimitHits, Origin, RequestMemory};
    use crate::metrics::Registry;

    /// The preface, SETTINGS and a request.
    const REQUEST: &[u8] =
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x03\x01\x04\0\0\0\x01\x83\x86\x84";
    /// Calls of one user that may begin before another connection is read.
    const STARTED: usize = 4 * 1024 * 1024 / (20 * 1024);

    #[tokio::test]
    async fn call_counts_before_its_task_runs() {
        let all = RequestMemory::new(Arc::new(SystemClock::new()), LimitHits::new(&mut Registry::default()));
        let [memory, other] = [1, 1].map(|uid| all.enter(Origin::Uid(uid)));
        let _started: Vec<_> = (0..STARTED).map(|_| BodyMemory::begin(&memory, usize::MAX)).collect();
        let never = tower::service_fn(|_: Request<RequestBody>| pending::<Result<Response<Body>, Infallible>>());
        let service = TrackedService::new(never, None, PeerWatchdog::default(), None, memory.clone());
        let (mut peer, io) = tokio::io::duplex(1024);
        peer.write_all(REQUEST).await.unwrap();
        let mut connection = pin!(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), service));
        // No other task runs meanwhile.
        let is_paused = poll_fn(|context| {
            let before = other.poll_room(context).is_pending();
            let connections = (0..3).map(|_| connection.as_mut().poll(context).is_pending());
            let is_open = connections.filter(|is_open| *is_open).count() == 3;
            Poll::Ready(!before && is_open && other.poll_room(context).is_pending())
        });
        assert!(is_paused.await && !memory.is_closing());
    }
}
