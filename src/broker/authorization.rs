//! Permission to serve a request.

use std::sync::Arc;

use super::active_policy::ActivePolicy;
use super::request::CredentialRequest;
use crate::audit::Outcome;
use crate::cache::Lookup;
use crate::credential::CredentialKey;

/// Permission to serve a request, and the reason for the audit log.
#[derive(Debug, Clone)]
pub(super) struct Authorization {
    /// The credential to serve.
    pub(super) key: CredentialKey,
    /// The grant that decided, if one did.
    pub(super) grant: Option<String>,
    pub(super) policy: Arc<ActivePolicy>,
    pub(super) outcome: Outcome,
}

impl Authorization {
    /// Returns the lookup of the credential in the cache.
    pub(super) fn lookup(&self, request: &CredentialRequest) -> Lookup {
        Lookup {
            key: self.key.clone(),
            min_validity: request.min_validity,
            rejected: request.rejected,
            request_id: request.context.id,
            hops: request.context.hops.clone(),
            caller: Some(request.context.caller.clone()),
            token: request.context.token.as_ref().map(|kept| Arc::clone(&kept.token)),
            answer_by: request.answer_by,
        }
    }
}
