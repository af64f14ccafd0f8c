//! Ends what would never end by itself when the drain begins: a health watch, a reflection stream.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::api::grpc::methods::Method;
use crate::api::grpc::status;

/// Puts a service's streams under a token.
#[derive(Debug, Clone)]
pub(super) struct DrainStreams {
    end: CancellationToken,
}

/// A service whose streams end with the token.
#[derive(Debug, Clone)]
pub(super) struct Ending<S> {
    inner: S,
    end: CancellationToken,
}

/// A stream that ends when it has nothing more to say and the token is cancelled.
struct EndingBody {
    inner: Pin<Box<Body>>,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    /// What is said at the end, once.
    last_words: Option<Status>,
}

impl DrainStreams {
    pub(super) fn new(end: CancellationToken) -> Self {
        Self { end }
    }
}

impl<S> Layer<S> for DrainStreams {
    type Service = Ending<S>;

    fn layer(&self, inner: S) -> Ending<S> {
        Ending { inner, end: self.end.clone() }
    }
}

impl<S, B> Service<Request<B>> for Ending<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = futures_util::future::Either<S::Future, BoxFuture<'static, Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let streams = Method::of(request.uri().path()).streams_responses();
        let last_words = streams.then(|| status::shutting_down(request.extensions()));
        let answer = self.inner.call(request);
        if last_words.is_none() {
            return futures_util::future::Either::Left(answer);
        }
        let end = self.end.clone();
        futures_util::future::Either::Right(Box::pin(async move {
            Ok(answer.await?.map(|inner| {
                let end = Box::pin(end.cancelled_owned());
                Body::new(EndingBody { inner: Box::pin(inner), end, last_words })
            }))
        }))
    }
}

impl http_body::Body for EndingBody {
    type Data = bytes::Bytes;
    type Error = tonic::Status;

    /// What the stream still has goes first: a watcher is to hear that the broker no longer serves.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.last_words.is_none() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = self.inner.as_mut().poll_frame(context) {
            return Poll::Ready(frame);
        }
        ready!(self.end.as_mut().poll(context));
        let last_words = self.last_words.take().unwrap_or_else(|| Status::unavailable(""));
        let mut trailers = HeaderMap::new();
        last_words.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.last_words.is_none() || self.inner.is_end_stream()
    }
}
