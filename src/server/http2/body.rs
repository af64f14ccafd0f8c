//! Request bodies with a time limit, and response bodies that count as in flight until their last byte is sent.
//!
//! h2 does not copy response data above 1 KiB, but keeps it until the peer reads it. So a call counts against the limits of its
//! caller until h2 drops the last chunk, and the [`PeerWatchdog`] counts the remaining chunks.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryFutureExt as _;
use futures_util::future::MapOk;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::call_memory::{self, CallMemory};
use super::first_message::FirstMessage;
use super::peer_watchdog::{CallGuard, PeerWatchdog};
use crate::api::grpc::methods::Method;
use crate::api::grpc::response_admission::ResponseAdmission;
use crate::api::request::BODY_TIMEOUT;
use crate::limits::{BodyMemory, ConnectionMemory, HeldMemory, Unproved};

/// The service of one connection, with its bodies tracked.
#[derive(Debug, Clone)]
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
    /// `None`: no time limit, for calls in which the client streams messages.
    timeout: Option<Duration>,
    /// Deadline of the body; it is set when the first wait for data begins.
    deadline: Option<Pin<Box<Sleep>>>,
}

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
    _admission: Option<ResponseAdmission>,
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

type Tracked<F> = MapOk<F, Box<dyn FnOnce(Response<Body>) -> Response<ResponseBody> + Send>>;

impl<S> Service<Request<Incoming>> for TrackedService<S>
where
    S: Service<Request<RequestBody>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Tracked<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let method = Method::of(request.uri().path());
        let timeout = (!method.streams_requests()).then_some(BODY_TIMEOUT);
        let (account, memory) = self.account(method, request.headers());
        let request = request.map(|inner| RequestBody {
            inner,
            account,
            first: FirstMessage::default(),
            timeout,
            deadline: None,
        });
        let call = self.watchdog.begin_call();
        self.inner.call(request).map_ok(Box::new(|mut response| {
            let (admission, memory) = (ResponseAdmission::detach(&mut response), memory.after_headers());
            response.map(|inner| ResponseBody { inner, call, admission, _memory: memory })
        }))
    }
}

impl InFlightGuard {
    fn new(admission: Option<ResponseAdmission>, watchdog: PeerWatchdog) -> Self {
        watchdog.note_chunk();
        Self { _admission: admission, watchdog }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.watchdog.note_chunk_gone();
    }
}

impl AsRef<[u8]> for TrackedChunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl RequestBody {
    fn note_read<E>(&mut self, frame: Option<&Result<Frame<Bytes>, E>>) {
        let Some(Ok(frame)) = frame else { return };
        let Some(data) = frame.data_ref() else { return };
        self.first.note_read(data);
        let bytes = data.len();
        match &mut self.account {
            Account::Unproved(connection) => connection.note_read(bytes),
            Account::Proved(memory) => memory.note_read(bytes),
        }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            self.note_read(frame.as_ref());
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| Status::from_error(Box::new(error)))));
        }
        if self.timeout.is_some() && self.first.is_complete() {
            // The decoded message can be a hundred times larger. It must not wait for the end of the stream.
            return Poll::Ready(None);
        }
        let announced = self.first.announced();
        if let Account::Proved(memory) = &mut self.account {
            memory.note_waiting(announced);
        }
        let Some(timeout) = self.timeout else { return Poll::Pending };
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Some(Err(Status::deadline_exceeded("request timed out: its message did not arrive in time"))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
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
