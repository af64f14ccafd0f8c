//! Operators: callers that may read the broker's status.
//!
//! The status names every account, region and profile in use, so a grant of credentials does not include it. The broker's owners
//! are operators by what they can read anyway. Observe mode changes nothing here: it is about credentials.

use tracing::info;

use super::authorize::{Authorizer, check_claims};
use super::request::RequestContext;
use super::{owner, record};
use crate::audit::Outcome;
use crate::caller::Caller;
use crate::error::BrokerError;
use crate::rejections::Kind;

impl Authorizer {
    /// Checks that the caller is an operator, and records a denial.
    pub(super) async fn authorize_operator(&self, context: &RequestContext) -> Result<(), BrokerError> {
        let policy = self.active_policy();
        check_claims(&context.caller, &policy)?;
        if self.operates_without_grant(&context.caller) || policy.policy.operator_grant(&context.caller).is_some() {
            return Ok(());
        }
        if let Some(admitted) = self.admit_record(&context.caller, Kind::Denied) {
            info!(
                request_id = %context.id,
                trace_id = context.trace_id,
                caller = %context.caller,
                denied_by = "no grant makes it an operator",
                "status denied"
            );
            self.write_record(&admitted, &record::of_status(context, Outcome::Denied, &policy)).await;
        }
        Err(BrokerError::CallerNotAllowed)
    }

    fn operates_without_grant(&self, caller: &Caller) -> bool {
        owner::is_owner(caller) || (self.settings.loopback_operates && *caller == Caller::Loopback)
    }
}
