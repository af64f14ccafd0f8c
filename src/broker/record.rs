//! Audit records of requests.

use super::active_policy::ActivePolicy;
use super::request::{CredentialRequest, RequestContext};
use crate::audit::{Outcome, Record};
use crate::caller::Via;
use crate::registry::Region;

/// Returns the record of a request with what is known before a decision; decided by `policy`.
pub(super) fn of_request<'a>(request: &'a CredentialRequest, outcome: Outcome, policy: &'a ActivePolicy) -> Record<'a> {
    let registry = &request.target.registry;
    Record {
        account_id: registry.account().map(|account| account.to_string()),
        region: registry.region().map(Region::as_str),
        registry: registry.host(),
        alias: request.target.alias.as_deref(),
        profile: request.profile_name(),
        ..of_context(&request.context, outcome, policy)
    }
}

/// Returns the record of a request for the broker's status.
pub(super) fn of_status<'a>(context: &RequestContext, outcome: Outcome, policy: &'a ActivePolicy) -> Record<'a> {
    Record { operation: Some("status"), ..of_context(context, outcome, policy) }
}

fn of_context<'a>(context: &RequestContext, outcome: Outcome, policy: &'a ActivePolicy) -> Record<'a> {
    Record {
        request_id: context.id.to_string(),
        trace_id: context.trace_id.clone(),
        child_request_id: context.hops.request_id().map(|id| id.to_string()),
        caller: context.caller.job().to_string(),
        via: context.caller.via().map(names).unwrap_or_default(),
        proof: context.caller.proof(),
        outcome,
        operation: None,
        account_id: None,
        region: None,
        registry: None,
        alias: None,
        profile: "",
        role_session: None,
        grant: None,
        policy: &policy.name,
        config: &policy.settings.config,
        credential_id: None,
        expires: None,
        source: None,
        minted_by: None,
        aws_request_id: None,
        count: None,
    }
}

fn names(via: &Via) -> Vec<String> {
    via.brokers().iter().map(ToString::to_string).collect()
}
