//! A call whose caller is known and within its limits.

use std::sync::Arc;

use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::call::Call;
use super::response_admission::ResponseAdmission;
use super::status::{ErrorContext, to_status};
use crate::api::request;
use crate::broker::RequestContext;
use crate::error::BrokerError;
use crate::limits::{Admission, Limits};

/// A call that the broker may answer.
#[derive(Debug, Clone)]
pub(super) struct AdmittedCall {
    pub(super) call: Arc<Call>,
    pub(super) context: RequestContext,
    /// The right to be in flight, given back when the last handle is dropped.
    pub(super) admission: Arc<Admission>,
}

impl AdmittedCall {
    /// Admits a call that asks for `count` credentials.
    pub(super) fn admit<T>(limits: &Limits, call: &Request<T>, count: usize) -> Result<Self, Status> {
        let call: Arc<Call> =
            call.extensions().get().cloned().ok_or_else(|| Status::internal("the call did not pass the middleware"))?;
        let caller = call.caller.clone();
        let admitted = caller.and_then(|caller| Ok((request::admit(limits, &caller, count)?, caller)));
        let (admission, caller) = admitted.map_err(|error| to_status(&error, &ErrorContext::default(), &call))?;
        let trace_id = call.trace.map(|trace| trace.to_string());
        let context = RequestContext { caller, id: call.id, trace_id };
        Ok(Self { call, context, admission: Arc::new(admission) })
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
