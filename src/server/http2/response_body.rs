//! Response bodies that count as in flight until their last byte is sent.
//!
//! h2 does not copy response data above 1 KiB, but keeps it until the peer reads it. So a call counts against the limits of its
//! caller until h2 drops the last chunk, and the [`PeerWatchdog`] counts the remaining chunks.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::peer_watchdog::{CallGuard, PeerWatchdog};
use crate::api::grpc::response_admission::ResponseAdmission;
use crate::limits::HeldMemory;

/// The body of a response.
pub(super) struct ResponseBody {
    content: Content,
    call: CallGuard,
    /// The call's admission, if the call counts against the limits.
    admission: Option<ResponseAdmission>,
    /// The memory of a call that does not.
    _memory: Option<HeldMemory>,
}

/// What is left of a response.
enum Content {
    /// The response of a service.
    Service(Body),
    /// A message of the fast path, and its trailers.
    Message(Vec<u8>),
    /// The trailers of a call that succeeded.
    Trailers,
    Sent,
}

/// Keeps a call in flight, and its peer under watch, until a chunk of the response is sent.
struct InFlightGuard {
    admission: Option<ResponseAdmission>,
    watchdog: PeerWatchdog,
}

/// A chunk of a response with its guard.
struct TrackedChunk<B> {
    bytes: B,
    _guard: InFlightGuard,
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

impl<B: AsRef<[u8]>> AsRef<[u8]> for TrackedChunk<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

impl ResponseBody {
    /// Returns the body of a service's response.
    pub(super) fn of_service(
        inner: Body,
        call: CallGuard,
        admission: Option<ResponseAdmission>,
        memory: Option<HeldMemory>,
    ) -> Self {
        Self { content: Content::Service(inner), call, admission, _memory: memory }
    }

    /// Returns the body of the fast path's response: one message of gRPC, and the trailers that follow it.
    pub(super) fn of_message(message: Vec<u8>, call: CallGuard, admission: ResponseAdmission) -> Self {
        Self { content: Content::Message(message), call, admission: Some(admission), _memory: None }
    }

    fn track(&self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        let guard = InFlightGuard::new(self.admission.clone(), self.call.watchdog().clone());
        Bytes::from_owner(TrackedChunk { bytes, _guard: guard })
    }

    /// Returns the next frame of a response of the fast path.
    fn next(&mut self) -> Option<Frame<Bytes>> {
        match std::mem::replace(&mut self.content, Content::Sent) {
            Content::Message(message) => {
                self.content = Content::Trailers;
                Some(Frame::data(self.track(message)))
            }
            Content::Trailers => Some(Frame::trailers(succeeded())),
            Content::Service(_) | Content::Sent => None,
        }
    }
}

/// Returns the trailers of a call that succeeded.
fn succeeded() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    trailers
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Content::Service(inner) = &mut self.content else { return Poll::Ready(self.next().map(Ok)) };
        let frame = ready!(Pin::new(inner).poll_frame(context));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|bytes| self.track(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Service(inner) => inner.is_end_stream(),
            content => matches!(content, Content::Sent),
        }
    }

    /// Of a message the size is left open, as tonic does: hyper would send it as `content-length`.
    fn size_hint(&self) -> SizeHint {
        if let Content::Service(inner) = &self.content { inner.size_hint() } else { SizeHint::default() }
    }
}
