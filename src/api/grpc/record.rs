//! Records of failed calls, within the rate of their caller or origin.

use tracing::{field, info};

use super::call::Call;
use crate::audit::{Outcome, Unauthenticated};
use crate::error::BrokerError;
use crate::rejections::{Admitted, Kind, Subject};

/// Logs a failed call, or counts it. A failed authentication is audited too.
pub(super) fn failure(error: &BrokerError, registry: Option<&str>, call: &Call) {
    let caller = call.caller.as_ref().ok();
    let is_unproved = matches!(error, BrokerError::CallerUnauthenticated { .. });
    let subject = match caller.filter(|_| !is_unproved) {
        Some(caller) => Subject::Caller(caller.principal()),
        None => Subject::Origin(call.origin),
    };
    let Some(admitted) = call.rejections.admit(subject, Kind::of(error, call.proof)) else { return };
    info!(
        request_id = %call.id,
        trace_id = call.trace.map(field::display),
        caller = caller.map(field::display),
        origin = caller.is_none().then(|| field::display(call.origin)),
        via = call.child.as_ref().filter(|_| caller.is_none()).map(field::display),
        reason = error.reason(),
        registry,
        error = %error,
        "request failed"
    );
    if let BrokerError::CallerUnauthenticated { problem, .. } = error {
        audit(problem, &admitted, call);
    }
}

fn audit(reason: &str, admitted: &Admitted, call: &Call) {
    let record = Unauthenticated {
        request_id: Some(call.id.to_string()),
        trace_id: call.trace.map(|trace| trace.to_string()),
        outcome: Outcome::Unauthenticated,
        origin: call.origin.to_string(),
        via: call.child.iter().map(ToString::to_string).collect(),
        proof: call.proof,
        reason,
    };
    // A failed write is counted.
    drop(call.rejections.queue(admitted, &record));
}
