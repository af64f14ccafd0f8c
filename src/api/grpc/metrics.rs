//! How a gRPC call ends, for the metrics of calls: with its response, or with the last frame of an endless one.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};

use super::methods::Method;
use crate::api::calls::{CallInFlight, ResponseCode};

/// The body of an endless response, which ends its call.
struct Recorded {
    inner: Body,
    call: CallInFlight,
}

/// Ends a call with its response; an endless one ends it with its last frame.
pub(super) fn respond(mut call: CallInFlight, method: &Method, response: Response<Body>) -> Response<Body> {
    match code(response.headers()) {
        None if method.streams_responses() => response.map(|inner| Body::new(Recorded { inner, call })),
        code => {
            call.set_code(ResponseCode::grpc(code.unwrap_or(Code::Ok)));
            response
        }
    }
}

impl http_body::Body for Recorded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(code) = frame.trailers_ref().and_then(code) {
                    self.call.set_code(ResponseCode::grpc(code));
                }
            }
            Some(Err(status)) => self.call.set_code(ResponseCode::grpc(status.code())),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Returns the status in headers or trailers.
fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()))
}
