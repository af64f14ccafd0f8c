//! Request bodies: one message within a time limit, counted as it arrives.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};
use tonic::Status;

use super::first_message::FirstMessage;
use crate::api::grpc::methods::Method;
use crate::api::request::BODY_TIMEOUT;
use crate::limits::{BodyMemory, Unproved};

/// The body of a request.
pub(super) struct RequestBody {
    inner: Incoming,
    account: Account,
    first: FirstMessage,
    /// The start of a message that is not complete. tonic would make a buffer for all of it, as soon as it knows the length.
    partial: BytesMut,
    /// What was read before the handler is called.
    replay: Option<Result<Bytes, Status>>,
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
pub(super) enum Account {
    /// The connection was unproved when the call began.
    Unproved(Unproved),
    Proved(BodyMemory),
}

impl Account {
    /// Notes that a message is not complete after its usual time.
    fn note_unfinished(&mut self) {
        if let Self::Proved(memory) = self {
            memory.note_unfinished();
        }
    }
}

impl RequestBody {
    /// Returns the body of a call, which counts for `account`.
    pub(super) fn new(inner: Incoming, account: Account, method: &Method) -> Self {
        Self {
            inner,
            account,
            first: FirstMessage::default(),
            partial: BytesMut::new(),
            replay: None,
            timeout: (!method.streams_requests()).then_some(BODY_TIMEOUT),
            wait: None,
        }
    }

    /// Returns the message, if all of it has arrived. The handler gets it again.
    pub(super) fn peek(&mut self, context: &mut Context<'_>) -> Option<Bytes> {
        let Poll::Ready(data) = self.poll_data(context) else { return None };
        self.replay = data;
        self.replay.as_ref()?.as_ref().ok().cloned()
    }

    /// Returns the next bytes for the handler. That of a call with one message gets it once it is complete, and nothing beyond it:
    /// tonic would decode any number of further messages, and use none.
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        if let Some(read) = self.replay.take() {
            return Poll::Ready(Some(read));
        }
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
        self.inner.is_end_stream() && self.partial.is_empty() && self.replay.is_none()
    }
}
