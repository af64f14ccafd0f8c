//! Requests for a credential, as every front end builds them.

use std::time::Duration;

use tokio::time::Instant;

use crate::authn::KeptToken;
use crate::caller::{Caller, Principal};
use crate::credential::{CredentialId, ProfileName};
use crate::hops::Hops;
use crate::registry::ResolvedRegistry;
use crate::request_id::RequestId;

/// The caller of a request, and the IDs that logs and the audit log name the request by.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// The caller.
    pub caller: Caller,
    /// The caller's bearer token and the digest of its claims, if a parent broker may have to verify it.
    pub token: Option<KeptToken>,
    /// The request ID.
    pub id: RequestId,
    /// The trace ID of the caller's trace, if it sent one.
    pub trace_id: Option<String>,
    /// The brokers that the request passed; none, if the caller is not a broker.
    pub hops: Hops,
}

impl RequestContext {
    /// Returns the principal with all that a parent broker may decide by.
    pub(super) fn exact_principal(&self) -> Principal {
        let claims = self.token.as_ref().map_or_else(|| self.caller.claims_digest(), |token| token.digest);
        self.caller.exact_principal(claims)
    }
}

/// A request for the credential of one registry.
#[derive(Debug, Clone)]
pub struct CredentialRequest {
    /// The caller and the IDs of the request.
    pub context: RequestContext,
    /// The registry, and the alias by which the caller named it.
    pub target: ResolvedRegistry,
    /// The profile; `None`: the broker chooses.
    pub profile: Option<ProfileName>,
    /// The remaining validity that the credential must have; zero: the broker's safety margin.
    pub min_validity: Duration,
    /// The credential that the registry rejected.
    pub rejected: Option<CredentialId>,
    /// Time shortly before the caller's deadline, at which it gets the cause of its wait, if that is known; `None`: no deadline.
    pub answer_by: Option<Instant>,
}

impl CredentialRequest {
    /// Returns the name of the requested profile; empty: the broker chooses.
    pub(super) fn profile_name(&self) -> &str {
        self.profile.as_ref().map_or("", ProfileName::as_str)
    }

    /// Returns a request without a profile, a validity, a rejected credential or a deadline.
    #[must_use]
    pub fn new(context: RequestContext, target: ResolvedRegistry) -> Self {
        Self { context, target, profile: None, min_validity: Duration::ZERO, rejected: None, answer_by: None }
    }
}
