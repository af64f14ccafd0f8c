//! Ends endless response streams when the drain starts: watches of credentials and of health, and reflection.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::{BoxFuture, Either};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::api::grpc::admitted;
use crate::api::grpc::methods::Method;

/// The layer that ends the streams of a service.
#[derive(Debug, Clone)]
pub(in crate::server) struct DrainStreams {
    drain: CancellationToken,
}

/// A service whose endless streams end with the drain.
#[derive(Debug, Clone)]
pub struct DrainedStreams<S> {
    inner: S,
    drain: CancellationToken,
}

/// A response stream that ends once it has no frame ready and the drain has started.
struct DrainedBody {
    inner: Pin<Box<Body>>,
    drain: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The status that ends the stream; none once it is sent.
    status: Option<Status>,
}

impl DrainStreams {
    pub(in crate::server) fn new(drain: CancellationToken) -> Self {
        Self { drain }
    }
}

impl<S> Layer<S> for DrainStreams {
    type Service = DrainedStreams<S>;

    fn layer(&self, inner: S) -> DrainedStreams<S> {
        DrainedStreams { inner, drain: self.drain.clone() }
    }
}

impl<S, B> Service<Request<B>> for DrainedStreams<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !Method::of(request.uri().path()).streams_responses() {
            return Either::Left(self.inner.call(request));
        }
        let status = Some(admitted::shutting_down(request.extensions()));
        let response = self.inner.call(request);
        let drain = self.drain.clone();
        Either::Right(Box::pin(async move {
            Ok(response.await?.map(|inner| {
                let drain = Box::pin(drain.cancelled_owned());
                Body::new(DrainedBody { inner: Box::pin(inner), drain, status })
            }))
        }))
    }
}

impl http_body::Body for DrainedBody {
    type Data = bytes::Bytes;
    type Error = Status;

    /// Polls the inner stream before the drain: a health watcher must still get `NOT_SERVING`.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.status.is_none() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = self.inner.as_mut().poll_frame(context) {
            return Poll::Ready(frame);
        }
        ready!(self.drain.as_mut().poll(context));
        let status = self.status.take().unwrap_or_else(|| Status::unavailable(""));
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.status.is_none() || self.inner.is_end_stream()
    }
}
