//! Request bodies with a time limit, and response bodies that count as in flight until their last byte is sent.
//!
//! h2 does not copy response data above 1 KiB, but keeps it until the peer reads it. So a call counts against the limits of its
//! caller until h2 drops the last chunk, and the [`PeerWatchdog`] counts the remaining chunks.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::TryFutureExt as _;
use futures_util::future::MapOk;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;
use tower::ServiceExt as _;
use tower::util::Oneshot;

use super::call_memory::{self, CallMemory};
use super::first_message::FirstMessage;
use super::peer_watchdog::{CallGuard, PeerWatchdog};
use crate::api::grpc::methods::Method;
use crate::api::grpc::response_admission::ResponseAdmission;
use crate::api::request::BODY_TIMEOUT;
use crate::limits::{BodyMemory, ConnectionMemory, HeldMemory, Unproved};

/// The service of one connection, with its bodies tracked.
#[derive(Debug)]
pub(super) struct TrackedService<S> {
    inner: S,
    watchdog: PeerWatchdog,
    unproved: Option<Unproved>,
    memory: ConnectionMemory,
}

/// The body of a request.
pub(super) struct RequestBody {
    inner: Incoming,
    account: Account,
    first: FirstMessage,
    /// The start of a message that is not complete. tonic would make a buffer for all of it, as soon as it knows the length.
    partial: BytesMut,
    /// `None`: no time limit, for calls in which the client streams messages.
    timeout: Option<Duration>,
    /// Set when the first wait for data begins.
    wait: Option<Wait>,
}

/// A wait for a message that is not complete.
enum Wait {
    /// Until the end of the usual time.
    Usual(Pin<Box<Sleep>>),
    /// Until the deadline.
    Last(Pin<Box<Sleep>>),
}

/// Time in which the messages of usual clients arrive after their headers.
const USUAL_TIME: Duration = Duration::from_millis(500);

/// What a body counts for.
enum Account {
    /// The connection was unproved when the call began.
    Unproved(Unproved),
    Proved(BodyMemory),
}

/// The body of a response.
pub(super) struct ResponseBody {
    inner: Body,
    call: CallGuard,
    /// The call's admission, if the call counts against the limits.
    admission: Option<ResponseAdmission>,
    /// The memory of a call that does not.
    _memory: Option<HeldMemory>,
}

/// Keeps a call in flight, and its peer under watch, until a chunk of the response is sent.
struct InFlightGuard {
    admission: Option<ResponseAdmission>,
    watchdog: PeerWatchdog,
}

/// A chunk of a response with its guard.
struct TrackedChunk {
    bytes: Bytes,
    _guard: InFlightGuard,
}

impl<S> TrackedService<S> {
    pub(super) fn new(inner: S, watchdog: PeerWatchdog, unproved: Option<Unproved>, memory: ConnectionMemory) -> Self {
        Self { inner, watchdog, unproved, memory }
    }

    /// Returns what a call counts for. An unproved connection counts its calls elsewhere.
    fn account(&self, method: &Method, headers: &HeaderMap) -> (Account, CallMemory) {
        if let Some(connection) = self.unproved.as_ref().filter(|connection| !connection.is_proved()) {
            return (Account::Unproved(connection.clone()), CallMemory::default());
        }
        let body = call_memory::body(&self.memory, method);
        (Account::Proved(body), CallMemory::of(&self.memory, method, headers))
    }
}

/// The calls of hyper's service begin when the connection has read their headers, and those of a tower service only when their stream
/// is polled: too late to count, because the connection has read on by then.
impl<S> Service<Request<Incoming>> for TrackedService<S>
where
    S: tower::Service<Request<RequestBody>, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Tracked<Oneshot<S, Request<RequestBody>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let method = Method::of(request.uri().path());
        let timeout = (!method.streams_requests()).then_some(BODY_TIMEOUT);
        let (account, memory) = self.account(method, request.headers());
        let request = request.map(|inner| RequestBody {
            inner,
            account,
            first: FirstMessage::default(),
            partial: BytesMut::new(),
            timeout,
            wait: None,
        });
        let call = self.watchdog.begin_call();
        self.inner.clone().oneshot(request).map_ok(Box::new(|mut response| {
            let (admission, memory) = (ResponseAdmission::detach(&mut response), memory.after_headers());
            response.map(|inner| ResponseBody { inner, call, admission, _memory: memory })
        }))
    }
}

type Tracked<F> = MapOk<F, Box<dyn FnOnce(Response<Body>) -> Response<ResponseBody> + Send>>;

impl Account {
    /// Notes that a message is not complete after its usual time.
    fn note_unfinished(&mut self) {
        if let Self::Proved(memory) = self {
            memory.note_unfinished();
        }
    }
}

impl InFlightGuard {
    fn new(admission: Option<ResponseAdmission>, watchdog: PeerWatchdog) -> Self {
        watchdog.note_chunk();
        Self { admission, watchdog }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.watchdog.note_chunk_gone(self.admission.take());
    }
}

impl AsRef<[u8]> for TrackedChunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl RequestBody {
    /// Returns the next bytes for the handler. That of a call with one message gets it once it is complete, and nothing beyond it:
    /// tonic would decode any number of further messages, and use none.
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let is_single = self.timeout.is_some();
        loop {
            if is_single && self.first.is_complete() {
                // The decoded message can be a hundred times larger. It must not wait for the end of the stream.
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) => {
                    // Trailers of a request say nothing.
                    let Ok(mut data) = frame.into_data() else { continue };
                    self.note_read(&data);
                    if is_single {
                        data.truncate(data.len().saturating_sub(self.first.excess()));
                    }
                    let is_whole = !is_single || self.first.is_complete() || self.first.is_too_large();
                    if is_whole && self.partial.is_empty() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                    self.partial.extend_from_slice(&data);
                    if is_whole {
                        return Poll::Ready(self.take_partial());
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(Status::from_error(Box::new(error))))),
                None => return Poll::Ready(self.take_partial()),
            }
        }
    }

    fn note_read(&mut self, data: &[u8]) {
        self.first.note_read(data);
        match &mut self.account {
            Account::Unproved(connection) => connection.note_read(data.len()),
            Account::Proved(memory) => memory.note_read(data.len()),
        }
    }

    /// Completes at the deadline. At the end of the usual time, notes that the message is late.
    fn poll_wait(&mut self, timeout: Duration, context: &mut Context<'_>) -> Poll<()> {
        let wait = self.wait.get_or_insert_with(|| Wait::Usual(Box::pin(sleep(USUAL_TIME))));
        loop {
            match wait {
                Wait::Usual(end) => {
                    ready!(end.as_mut().poll(context));
                    self.account.note_unfinished();
                    *wait = Wait::Last(Box::pin(sleep(timeout.saturating_sub(USUAL_TIME))));
                }
                Wait::Last(deadline) => return deadline.as_mut().poll(context),
            }
        }
    }

    fn take_partial(&mut self) -> Option<Result<Bytes, Status>> {
        Some(std::mem::take(&mut self.partial).freeze()).filter(|bytes| !bytes.is_empty()).map(Ok)
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(data) = self.poll_data(context) {
            return Poll::Ready(data.map(|data| data.map(Frame::data)));
        }
        let Some(timeout) = self.timeout else {
            self.account.note_unfinished();
            return Poll::Pending;
        };
        ready!(self.poll_wait(timeout, context));
        Poll::Ready(Some(Err(Status::deadline_exceeded("request timed out: its message did not arrive in time"))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && self.partial.is_empty()
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        let guard = InFlightGuard::new(self.admission.clone(), self.call.watchdog().clone());
        let track = |bytes| Bytes::from_owner(TrackedChunk { bytes, _guard: guard });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(track))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
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
    use crate::limits::{LimitHits, Origin, RequestMemory};
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
        let service = TrackedService::new(never, PeerWatchdog::default(), None, memory.clone());
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
