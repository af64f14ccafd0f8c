//! A call that the fast path answers: waits for its audit record, and then composes the answer (P11).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Response;
use tokio::time::timeout_at;
use tonic::body::Body;
use tonic::{Code, Status};

use super::super::response_admission::ResponseAdmission;
use super::super::status::{ErrorContext, to_status};
use super::known_call::KnownCall;
use super::memo::Memo;
use super::span::CallSpan;
use crate::api::calls::{CallInFlight, ResponseCode};
use crate::api::request;
use crate::audit::Queued;
use crate::broker::Attempt;
use crate::cache::Repeat;
use crate::error::BrokerError;
use crate::limits::Admission;

/// A call that is counted, and not answered yet. Dropping it counts it as given up by its client.
#[derive(Debug)]
pub(crate) struct Hit {
    in_flight: CallInFlight,
    /// The span of a sampled call.
    span: Option<Box<CallSpan>>,
    /// The call, or the status of a call that is refused; none once it is answered.
    call: Option<Result<Released, Status>>,
    recording: Recording,
}

/// What the connection sends.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The message with the prefix of gRPC, and the admission, which lasts until the message is sent.
    Credentials(Vec<u8>, ResponseAdmission),
    /// A whole response: that of a service, or of a call that failed.
    Response(Response<Body>),
}

/// A call whose credential is released once its record is written.
#[derive(Debug)]
pub(super) struct Released {
    pub(super) call: KnownCall,
    pub(super) memo: Arc<Memo>,
    pub(super) repeat: Repeat,
    pub(super) admission: Admission,
    pub(super) attempt: Attempt,
}

/// The record of a release.
pub(super) enum Recording {
    /// The broker has no audit log.
    None,
    /// It is collected: the driver of the connection writes it after this poll, and polls again without being woken.
    Added(Queued),
    Queued(Queued),
    /// It was not written at once.
    Waiting(Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>),
}

/// Why a release failed, and whether its error is about the request rather than the call, as the ordinary path has it.
pub(super) struct Failure {
    error: BrokerError,
    is_of_request: bool,
}

impl Hit {
    /// Returns a call that a limit refuses.
    pub(super) fn refused(in_flight: CallInFlight, span: Option<Box<CallSpan>>, status: Status) -> Self {
        Self { in_flight, span, call: Some(Err(status)), recording: Recording::None }
    }

    /// Returns a call that is answered once its record is written.
    pub(super) fn released(
        in_flight: CallInFlight,
        span: Option<Box<CallSpan>>,
        released: Released,
        recording: Recording,
    ) -> Self {
        Self { in_flight, span, call: Some(Ok(released)), recording }
    }

    /// Returns the answer, once.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        let recorded = match &self.call {
            Some(Ok(released)) => ready!(self.recording.poll(&released.call, context)),
            Some(Err(_)) => Ok(()),
            None => return Poll::Pending,
        };
        let mut span = self.span.take();
        let answer = match (self.call.take(), recorded) {
            (Some(Ok(released)), Ok(())) => Ok(released.answer(span.as_deref_mut())),
            (Some(Ok(released)), Err(failure)) => {
                let _logged_in = span.as_ref().map(|span| span.log_span().entered());
                Err(released.status(&failure))
            }
            (Some(Err(status)), _) => Err(status),
            (None, _) => return Poll::Pending,
        };
        let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
        self.in_flight.set_code(ResponseCode::grpc(code));
        if let Some(mut span) = span {
            span.set_code(code);
        }
        Poll::Ready(answer.unwrap_or_else(|status| Answer::Response(status.into_http())))
    }
}

impl Released {
    /// Composes the answer. Only now: P11 wants the record written before.
    fn answer(self, span: Option<&mut CallSpan>) -> Answer {
        if let Some(span) = span {
            span.release(&self.memo.registry);
        }
        let message = self.memo.answer.message(&self.repeat.found);
        self.attempt.release(&self.repeat.found);
        Answer::Credentials(message, ResponseAdmission::new(Arc::new(self.admission)))
    }

    fn status(self, failure: &Failure) -> Status {
        let context = if failure.is_of_request { self.call.error_context() } else { ErrorContext::default() };
        to_status(&failure.error, &context, &self.call.as_ordinary())
    }
}

impl Recording {
    fn poll(&mut self, call: &KnownCall, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        *self = match std::mem::replace(self, Self::None) {
            Self::Added(queued) => {
                *self = Self::Queued(queued);
                return Poll::Pending;
            }
            Self::Queued(mut queued) => match queued.try_written() {
                Some(true) => return Poll::Ready(Ok(())),
                Some(false) => return Poll::Ready(Err(Failure::unwritten())),
                None => Self::Waiting(wait(queued, call)),
            },
            recording => recording,
        };
        match self {
            Self::Waiting(written) => written.as_mut().poll(context),
            Self::None | Self::Added(_) | Self::Queued(_) => Poll::Ready(Ok(())),
        }
    }
}

/// Waits for a record as the ordinary path does.
fn wait(queued: Queued, call: &KnownCall) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>> {
    let (deadline, shutdown) = (call.deadline(), call.parts().force_shutdown.clone());
    let written = request::run(timeout_at(deadline, queued.written()), deadline, shutdown);
    Box::pin(async move {
        match written.await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(Failure::unwritten()),
            Ok(Err(_)) => Err(Failure { error: BrokerError::Deadline, is_of_request: true }),
            Err(error) => Err(Failure { error, is_of_request: false }),
        }
    })
}

impl Failure {
    fn unwritten() -> Self {
        Self { error: BrokerError::AuditUnavailable, is_of_request: true }
    }
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Added(_) => "Added",
            Self::Queued(_) => "Queued",
            Self::Waiting(_) => "Waiting",
        })
    }
}
