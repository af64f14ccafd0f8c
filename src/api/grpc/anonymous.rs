//! Calls without authentication on unproved connections: health and reflection, few at a time, and reflection not for long.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::methods::Method;
use crate::error::BrokerError;
use crate::limits::{HealthWatch, Unproved, UnprovedCall};

/// Longest reflection on a connection that is still unproved. A tool asks for a few descriptors.
const MAX_REFLECTION: Duration = Duration::from_secs(10);
/// Delay after which a refused health watch may be tried again.
const WATCH_RETRY: Duration = Duration::from_secs(1);

/// What a call holds until the last byte of its response is sent.
struct Held {
    _slot: OwnedSemaphorePermit,
    _call: UnprovedCall,
    _watch: Option<HealthWatch>,
}

/// The response of such a call.
struct AnonymousBody {
    inner: Body,
    connection: Unproved,
    _held: Held,
    /// The end of a reflection.
    end: Option<Pin<Box<Sleep>>>,
}

/// Serves a call once its connection has a slot. The message is not read before.
pub(super) async fn serve<S, B>(
    mut inner: S,
    request: Request<B>,
    (connection, mut call): (Unproved, UnprovedCall),
    method: &Method,
) -> Result<Response<Body>, BrokerError>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    let Some(slot) = connection.slot().await else {
        return Ok(infallible(inner.call(request).await));
    };
    let watch = method.is_health_watch().then(|| HealthWatch::begin(&connection).ok_or_else(too_many_watches));
    let watch = watch.transpose()?;
    call.note_serving();
    let response = infallible(inner.call(request).await);
    connection.note_served();
    let end = method.streams_requests().then(|| Box::pin(sleep(MAX_REFLECTION)));
    let held = Held { _slot: slot, _call: call, _watch: watch };
    Ok(response.map(|inner| Body::new(AnonymousBody { inner, connection, _held: held, end })))
}

fn infallible<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

fn too_many_watches() -> BrokerError {
    let what = "too many health watches on an unauthenticated connection";
    BrokerError::CallerRateLimited { what, retry_after: WATCH_RETRY }
}

impl http_body::Body for AnonymousBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            return Poll::Ready(frame);
        }
        let Some(end) = &mut self.end else { return Poll::Pending };
        ready!(end.as_mut().poll(context));
        self.end = None;
        if self.connection.is_proved() {
            return Poll::Pending;
        }
        // The inner body is dropped with the call, after this error.
        let ended = "reflection ended: the connection is not authenticated; call again, or authenticate first";
        Poll::Ready(Some(Err(Status::deadline_exceeded(ended))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
