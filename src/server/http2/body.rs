//! A request's message has to come in time, and what an answer holds is held until the last byte of it is on its way.
//!
//! h2 copies nothing of an answer that is larger than a kilobyte, and keeps it for as long as the peer does not take it; so what its caller may have under way is counted
//! until then, and not only while it is put together.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
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

use super::peer_watchdog::PeerWatchdog;
use crate::api::grpc::methods::Method;
use crate::api::request::BODY_TIMEOUT;
use crate::limits::Admission;

/// The service of one connection.
#[derive(Debug, Clone)]
pub(in crate::server) struct Exchange<S> {
    inner: S,
    conduct: PeerWatchdog,
}

/// The body of a request.
pub(in crate::server) struct RequestBody {
    inner: Incoming,
    /// None: it may take as long as it likes.
    timeout: Option<Duration>,
    /// Once it was waited for.
    late: Option<Pin<Box<Sleep>>>,
}

/// The body of an answer.
pub(in crate::server) struct AnswerBody {
    inner: Body,
    conduct: PeerWatchdog,
    /// What the caller may have under way, where that is counted.
    admission: Option<Arc<Admission>>,
}

/// What there is for as long as some of an answer has not been sent.
struct Hold {
    _admission: Option<Arc<Admission>>,
    conduct: PeerWatchdog,
}

/// Some of an answer.
struct Portion {
    bytes: Bytes,
    _hold: Hold,
}

impl<S> Exchange<S> {
    pub(in crate::server) fn new(inner: S, conduct: PeerWatchdog) -> Self {
        Self { inner, conduct }
    }
}

type Answered<F> = MapOk<F, Box<dyn FnOnce(Response<Body>) -> Response<AnswerBody> + Send>>;

impl<S> Service<Request<Incoming>> for Exchange<S>
where
    S: Service<Request<RequestBody>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Answered<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let timeout = (!Method::of(request.uri().path()).streams_requests()).then_some(BODY_TIMEOUT);
        let request = request.map(|inner| RequestBody { inner, timeout, late: None });
        let conduct = self.conduct.clone();
        self.inner.call(request).map_ok(Box::new(|mut response| {
            let admission = response.extensions_mut().remove::<Arc<Admission>>();
            response.map(|inner| AnswerBody { inner, conduct, admission })
        }))
    }
}

impl Hold {
    fn new(admission: Option<Arc<Admission>>, conduct: PeerWatchdog) -> Self {
        conduct.note_answer();
        Self { _admission: admission, conduct }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.conduct.note_gone();
    }
}

impl AsRef<[u8]> for Portion {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| Status::from_error(Box::new(error)))));
        }
        let Some(timeout) = self.timeout else { return Poll::Pending };
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(late.as_mut().poll(context));
        Poll::Ready(Some(Err(Status::deadline_exceeded("the request's message did not come in time"))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        let hold = Hold::new(self.admission.clone(), self.conduct.clone());
        let portion = |bytes| Bytes::from_owner(Portion { bytes, _hold: hold });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(portion))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
