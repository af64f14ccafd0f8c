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
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::peer_watchdog::{CallGuard, PeerWatchdog};
use crate::api::grpc::methods::Method;
use crate::api::grpc::response_admission::ResponseAdmission;
use crate::api::request::BODY_TIMEOUT;
use crate::limits::Unproved;

/// The service of one connection, with its bodies tracked.
#[derive(Debug, Clone)]
pub(super) struct TrackedService<S> {
    inner: S,
    watchdog: PeerWatchdog,
    unproved: Option<Unproved>,
}

/// The body of a request.
pub(super) struct RequestBody {
    inner: Incoming,
    /// The connection, while it is unproved.
    unproved: Option<Unproved>,
    /// `None`: no time limit, for calls in which the client streams messages.
    timeout: Option<Duration>,
    /// Deadline of the body; it is set when the first wait for data begins.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// The body of a response.
pub(super) struct ResponseBody {
    inner: Body,
    call: CallGuard,
    /// The call's admission, if the call counts against the limits.
    admission: Option<ResponseAdmission>,
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
    pub(super) fn new(inner: S, watchdog: PeerWatchdog, unproved: Option<Unproved>) -> Self {
        Self { inner, watchdog, unproved }
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
        let timeout = (!Method::of(request.uri().path()).streams_requests()).then_some(BODY_TIMEOUT);
        let unproved = self.unproved.as_ref().filter(|connection| !connection.is_proved()).cloned();
        let request = request.map(|inner| RequestBody { inner, unproved, timeout, deadline: None });
        let call = self.watchdog.begin_call();
        self.inner.call(request).map_ok(Box::new(|mut response| {
            let admission = ResponseAdmission::detach(&mut response);
            response.map(|inner| ResponseBody { inner, call, admission })
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
    fn note_read<E>(&self, frame: Option<&Result<Frame<Bytes>, E>>) {
        if let (Some(connection), Some(Ok(frame))) = (&self.unproved, frame) {
            connection.note_read(frame.data_ref().map_or(0, Bytes::len));
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
