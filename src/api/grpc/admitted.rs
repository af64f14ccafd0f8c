//! A call whose caller is known and within its limits.

use std::sync::Arc;

use http::Extensions;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::call::Call;
use super::response_admission::ResponseAdmission;
use super::status::{ErrorContext, to_status, to_status_unlogged};
use crate::api::request;
use crate::broker::RequestContext;
use crate::error::BrokerError;
use crate::hops::{ChainProblem, HopsError};
use crate::limits::{Admission, Limits};

/// How a call is refused before its message is read.
pub(super) type Refusal = Box<(BrokerError, Arc<Call>)>;

/// A call that the broker may answer.
#[derive(Debug, Clone)]
pub(super) struct AdmittedCall {
    pub(super) call: Arc<Call>,
    pub(super) context: RequestContext,
    /// The right to be in flight, given back when the last handle is dropped.
    pub(super) admission: Arc<Admission>,
}

impl AdmittedCall {
    /// Admits a call as one request, before its message is read. The handler adds what the message asks for beyond one.
    pub(super) fn admit(limits: &Limits, call: Arc<Call>) -> Result<Self, Refusal> {
        let caller = call.caller.clone();
        let admitted = caller.and_then(|caller| {
            let hops = call.hops.clone().map_err(refused_hops)?;
            Ok((request::admit(limits, &caller, 1)?, caller, hops))
        });
        let (admission, caller, hops) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => return Err(Box::new((error, call))),
        };
        let trace_id = call.trace.map(|trace| trace.to_string());
        let context = RequestContext { caller, token: call.authn.kept_token(), id: call.id, trace_id, hops };
        Ok(Self { call, context, admission: Arc::new(admission) })
    }

    /// Takes the admitted call out of its request, and counts it as `count` requests.
    pub(super) fn take<T>(limits: &Limits, request: &mut Request<T>, count: usize) -> Result<Self, Status> {
        let admitted = request.extensions_mut().remove::<Self>().ok_or_else(not_admitted)?;
        if count > 1 {
            let more = request::admit_more(limits, &admitted.context.caller, &admitted.admission, count - 1);
            more.map_err(|error| admitted.fail(&error))?;
        }
        Ok(admitted)
    }

    /// Returns the response. The call counts as in flight until the response's last byte is sent.
    pub(super) fn respond<T>(&self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        ResponseAdmission::attach(Arc::clone(&self.admission), &mut response);
        response
    }

    /// Returns the status of an error that concerns the whole call.
    pub(super) fn fail(&self, error: &BrokerError) -> Status {
        to_status(error, &ErrorContext::default(), &self.call)
    }

    /// Returns the deadline of each part of the call.
    pub(super) fn part_deadline(&self) -> Instant {
        request::shortly_before(self.call.deadline)
    }
}

/// Returns the status of an admitted call whose message another front end could not read; `extensions` are those of its request.
pub(crate) fn unreadable(extensions: &Extensions, error: &BrokerError) -> Status {
    extensions.get().map_or_else(not_admitted, |admitted: &AdmittedCall| admitted.fail(error))
}

fn not_admitted() -> Status {
    Status::internal("the call did not pass the middleware")
}

fn refused_hops(error: HopsError) -> BrokerError {
    match error {
        HopsError::TooMany => BrokerError::Chain(ChainProblem::TooLong),
        HopsError::Malformed(field) => {
            let problem = "malformed; only brokers set it, remove it".to_owned();
            BrokerError::RequestInvalid { field, problem }
        }
    }
}

/// Returns the status of a stream that the broker ends because it shuts down; `extensions` are those of its request.
#[must_use]
pub(crate) fn shutting_down(extensions: &Extensions) -> Status {
    let error = BrokerError::ShuttingDown;
    let call = extensions.get().or_else(|| extensions.get().map(|admitted: &AdmittedCall| &admitted.call));
    call.map_or_else(
        || Status::unavailable(error.to_string()),
        |call: &Arc<Call>| to_status_unlogged(&error, &ErrorContext::default(), call),
    )
}
