//! Request bodies that count in the memory of their connection once they are late.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::limits::{ConnectionMemory, HeldMemory};

/// Time in which the bodies of usual clients arrive after their heads.
const USUAL_TIME: Duration = Duration::from_millis(500);
/// Memory of a request that waits for its body: what was read for it, its call and its task.
const REQUEST_BYTES: usize = 40 * 1024;

/// A body that counts from its usual time until it is dropped.
pub(super) struct LateBody<B> {
    inner: B,
    memory: ConnectionMemory,
    /// Set when the first wait for data begins.
    usual: Option<Pin<Box<Sleep>>>,
    held: Option<HeldMemory>,
}

impl<B> LateBody<B> {
    /// Returns the body of a request on the connection with this memory.
    pub(super) fn new(inner: B, memory: ConnectionMemory) -> Self {
        Self { inner, memory, usual: None, held: None }
    }
}

impl<B: Body + Unpin> Body for LateBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            return Poll::Ready(frame);
        }
        if self.held.is_none() {
            ready!(self.usual.get_or_insert_with(|| Box::pin(sleep(USUAL_TIME))).as_mut().poll(context));
            self.held = Some(self.memory.hold(REQUEST_BYTES));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
