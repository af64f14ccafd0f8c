//! Lookups in the cache, and their results.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::bearer_token::BearerToken;
use crate::caller::{Caller, Principal};
use crate::credential::{Credential, CredentialId, CredentialKey};
use crate::error::BrokerError;
use crate::hops::Hops;
use crate::request_id::RequestId;
use crate::source::CallerProof;

/// A caller's demand for a credential.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The registry and the profile of the credential.
    pub key: CredentialKey,
    /// Validity that the credential must have left.
    pub min_validity: Duration,
    /// The credential that the registry rejected.
    pub rejected: Option<CredentialId>,
    /// ID of the request.
    pub request_id: RequestId,
    /// The brokers that the request passed.
    pub hops: Hops,
    /// The caller; `None`: the broker itself.
    pub caller: Option<Caller>,
    /// The caller's bearer token, if a parent broker may have to verify it.
    pub token: Option<Arc<BearerToken>>,
    /// Time shortly before the caller's deadline, at which it leaves with the cause of its wait, if that is known. `None`: the caller
    /// waits for the fetch.
    pub answer_by: Option<Instant>,
}

impl Lookup {
    /// Returns the requester by which the caller's fetches queue.
    pub(super) fn requester(&self) -> Option<Principal> {
        self.caller.as_ref().map(Caller::principal)
    }

    /// Returns the caller and its token, if the key is of this caller alone because a parent broker decides about it.
    pub(super) fn proof(&self) -> Option<CallerProof> {
        let caller = self.caller.clone().filter(|_| self.key.caller.as_ref().is_some_and(Principal::is_exact))?;
        Some(CallerProof { caller, token: self.token.clone() })
    }
}

/// The origin of a returned credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    /// From the cache.
    Hit,
    /// From a fetch that this caller started.
    Miss,
    /// From a fetch that another caller had started.
    Coalesced,
    /// From the cache, after a failed refresh.
    Stale,
}

/// A credential that meets the lookup.
#[derive(Debug, Clone)]
pub struct Found {
    /// The credential.
    pub credential: Arc<Credential>,
    /// The credential's origin.
    pub status: CacheStatus,
    /// Delay after which the caller should ask again.
    pub refresh_after: Duration,
    /// Validity that is left.
    pub remaining: Duration,
}

/// The state of a key's refresh, for a watch.
#[derive(Debug, Clone)]
pub struct RefreshState {
    /// The last refresh's failure, while its backoff lasts.
    pub failure: Option<BrokerError>,
    /// Time until the credential is due or too short for the lookup. `None` if it is so already, or if none is cached.
    pub due_in: Option<Duration>,
}
