//! Role sessions: one for each profile, partition and account, and for each caller if the profile attributes sessions to callers.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;

use super::error::invalid_response;
use super::role;
use super::signer::Signer;
use crate::caller::Principal;
use crate::credential::{CredentialKey, ProfileName};
use crate::error::UpstreamError;
use crate::profile::Profile;
use crate::registry::{AccountId, Partition, Region};
use crate::source::Metrics;

/// Maximum number of sessions in each cache. A session takes at least 20 KB.
const MAX_SESSIONS: u64 = 2_000;
/// Idle time after which a session is evicted. A role session lasts an hour.
const IDLE: Duration = Duration::from_hours(1);

/// Cached role sessions.
#[derive(Debug)]
pub(super) struct RoleSessions {
    profiles: Vec<Profile>,
    shared: Cache<SessionKey, RoleSession>,
    /// Sessions of single callers. They have their own cache, because their number is unbounded and they must not evict shared ones.
    per_caller: Cache<SessionKey, RoleSession>,
    metrics: Metrics,
}

/// Profile, partition and account of the registry, and the caller that the session names to AWS.
type SessionKey = (ProfileName, Partition, Option<AccountId>, Option<Principal>);

/// A session, and the broker's identity that assumed its first role.
#[derive(Debug, Clone)]
struct RoleSession {
    assumed_by: Arc<Signer>,
    signer: Arc<Signer>,
}

impl RoleSessions {
    pub(super) fn new(profiles: Vec<Profile>, metrics: Metrics) -> Self {
        Self { profiles, shared: cache(), per_caller: cache(), metrics }
    }

    pub(super) fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// Returns the session for `key`, assumed by the broker's identity `own`.
    pub(super) async fn get(
        &self,
        key: &CredentialKey,
        own: &Arc<Signer>,
        sts_endpoint: Option<&str>,
    ) -> Result<Arc<Signer>, UpstreamError> {
        let profile = self.profiles.iter().find(|profile| profile.name == key.profile);
        // No fallback to the broker's own identity, which may have more permissions.
        let profile = profile.ok_or_else(|| invalid_response("the profile is not configured"))?;
        let session_key = session_key(key);
        let (_, partition, account, caller) = &session_key;
        let assume = || async {
            let sts = (sts_endpoint, &self.metrics);
            let signer = role::assume_chain(&own.sdk, sts, profile, caller.as_ref(), *partition, *account)?;
            Some(RoleSession { assumed_by: Arc::clone(own), signer })
        };
        let sessions = self.cache_for(key);
        let mut session = sessions.optionally_get_with(session_key.clone(), assume()).await;
        if session.as_ref().is_some_and(|session| !Arc::ptr_eq(&session.assumed_by, own)) {
            sessions.invalidate(&session_key).await;
            session = sessions.optionally_get_with(session_key.clone(), assume()).await;
        }
        let needs_account = || invalid_response("a role of the profile needs an account, and the registry has none");
        session.map(|session| session.signer).ok_or_else(needs_account)
    }

    /// Drops the session for `key`, so that the next call assumes the roles again.
    pub(super) async fn invalidate(&self, key: &CredentialKey) {
        self.cache_for(key).invalidate(&session_key(key)).await;
    }

    fn cache_for(&self, key: &CredentialKey) -> &Cache<SessionKey, RoleSession> {
        if key.caller.is_none() { &self.shared } else { &self.per_caller }
    }
}

fn cache() -> Cache<SessionKey, RoleSession> {
    Cache::builder().max_capacity(MAX_SESSIONS).time_to_idle(IDLE).eviction_policy(EvictionPolicy::lru()).build()
}

/// Returns the key of a credential's session. ECR Public has no region, and belongs to the commercial partition.
fn session_key(key: &CredentialKey) -> SessionKey {
    let partition = key.registry.region().map_or(Partition::Aws, Region::partition);
    (key.profile.clone(), partition, key.registry.account(), key.caller.clone())
}
