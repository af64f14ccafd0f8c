//! Role sessions: one for each profile, partition, account and, with a session policy, region; and for each caller if the profile
//! attributes sessions to callers. The sessions of a chain's earlier roles are shared by all last roles that they assume.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;

use super::error::invalid_response;
use super::role::{self, StsCalls};
use super::signer::Signer;
use super::sts_budget::StsBudget;
use crate::caller::Principal;
use crate::credential::{CredentialKey, ProfileName, Revision};
use crate::error::UpstreamError;
use crate::profile::{ActiveProfiles, Profile};
use crate::registry::{AccountId, Partition, Region};
use crate::source::Metrics;

/// Maximum number of sessions in each cache. A session takes at least 20 KB.
const MAX_SESSIONS: u64 = 2_000;
/// Idle time after which a session is evicted. A role session lasts an hour.
const IDLE: Duration = Duration::from_hours(1);

/// Cached role sessions.
#[derive(Debug)]
pub(super) struct RoleSessions {
    profiles: ActiveProfiles,
    /// The generation of the profiles whose retired sessions were dropped.
    swept: AtomicU64,
    shared: Cache<SessionKey, RoleSession>,
    /// Sessions of single callers. They have their own cache, because their number is unbounded and they must not evict shared ones.
    per_caller: Cache<SessionKey, RoleSession>,
    budget: Arc<StsBudget>,
    metrics: Metrics,
}

/// All on which a session depends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SessionKey {
    profile: ProfileName,
    revision: Revision,
    /// The number of roles of the chain up to the session's.
    roles: usize,
    partition: Partition,
    /// The account of the registry; `None` also where no role depends on it.
    account: Option<AccountId>,
    /// The region of the registry, if a session policy names it.
    region: Option<Region>,
    /// Whether a session policy is for short-lived tokens.
    short_lived: bool,
    /// The caller that the session names to AWS.
    caller: Option<Principal>,
}

/// A session, and the broker's identity that assumed its first role.
#[derive(Debug, Clone)]
struct RoleSession {
    assumed_by: Arc<Signer>,
    signer: Arc<Signer>,
}

impl RoleSessions {
    pub(super) fn new(profiles: ActiveProfiles, budget: StsBudget, metrics: Metrics) -> Self {
        let (swept, budget) = (profiles.generation().into(), Arc::new(budget));
        Self { profiles, swept, shared: cache(), per_caller: cache(), budget, metrics }
    }

    pub(super) fn profiles(&self) -> ActiveProfiles {
        self.profiles.clone()
    }

    /// Returns the session for `key`, assumed by the broker's identity `own`.
    pub(super) async fn get(
        &self,
        key: &CredentialKey,
        own: &Arc<Signer>,
        sts_endpoint: Option<&str>,
    ) -> Result<Arc<Signer>, UpstreamError> {
        self.drop_retired().await;
        let profile = self.profiles.find(key);
        // No fallback to the broker's own identity, which may have more permissions.
        let profile = profile.ok_or_else(|| invalid_response("the profile is not configured"))?;
        let mut signer = Arc::clone(own);
        let sts = StsCalls { endpoint: sts_endpoint, metrics: &self.metrics, budget: &self.budget };
        for part in parts(&profile) {
            let base = Arc::clone(&signer);
            let assume = || role::assume_chain(&base.sdk, sts, &profile, part.clone(), key);
            let session = self.session(key, SessionKey::new(&profile, part.end, key), own, assume).await;
            let needs_account =
                || invalid_response("a role of the profile needs an account, and the registry has none");
            signer = session.ok_or_else(needs_account)?;
        }
        Ok(signer)
    }

    /// Returns a cached session, if the broker's identity `own` assumed its first role, or else a new one.
    async fn session(
        &self,
        key: &CredentialKey,
        session_key: SessionKey,
        own: &Arc<Signer>,
        assume: impl Fn() -> Option<Arc<Signer>>,
    ) -> Option<Arc<Signer>> {
        let new = || async { Some(RoleSession { assumed_by: Arc::clone(own), signer: assume()? }) };
        let sessions = self.cache_for(key);
        let mut session = sessions.optionally_get_with(session_key.clone(), new()).await;
        if session.as_ref().is_some_and(|session| !Arc::ptr_eq(&session.assumed_by, own)) {
            sessions.invalidate(&session_key).await;
            session = sessions.optionally_get_with(session_key, new()).await;
        }
        session.map(|session| session.signer)
    }

    /// Drops the sessions for `key`, so that the next call assumes all roles again. Other last roles keep the sessions of earlier roles
    /// that they have.
    pub(super) async fn invalidate(&self, key: &CredentialKey) {
        let Some(profile) = self.profiles.find(key) else { return };
        for part in parts(&profile) {
            self.cache_for(key).invalidate(&SessionKey::new(&profile, part.end, key)).await;
        }
    }

    /// Drops the sessions of profiles that were reloaded since the last call.
    async fn drop_retired(&self) {
        let generation = self.profiles.generation();
        if self.swept.swap(generation, Ordering::AcqRel) == generation {
            return;
        }
        let set = self.profiles.set();
        for sessions in [&self.shared, &self.per_caller] {
            let is_retired =
                |key: &SessionKey| set.find(&key.profile).is_none() || set.revision(&key.profile) != key.revision;
            let retired: Vec<_> = sessions.iter().map(|(key, _)| key).filter(|key| is_retired(key)).collect();
            for key in retired {
                sessions.invalidate(&*key).await;
            }
        }
    }

    fn cache_for(&self, key: &CredentialKey) -> &Cache<SessionKey, RoleSession> {
        if key.caller.is_none() { &self.shared } else { &self.per_caller }
    }
}

fn cache() -> Cache<SessionKey, RoleSession> {
    Cache::builder().max_capacity(MAX_SESSIONS).time_to_idle(IDLE).eviction_policy(EvictionPolicy::lru()).build()
}

/// Returns the parts of a profile's chain whose last roles have a cached session: all but the last role, and the last role, which may
/// have a session policy.
fn parts(profile: &Profile) -> impl Iterator<Item = Range<usize>> {
    let last = profile.role_chain.len().saturating_sub(1);
    [0..last, last..last + 1].into_iter().filter(|part| !part.is_empty())
}

impl SessionKey {
    /// Returns the key of the session after the first `roles` of a profile's chain.
    fn new(profile: &Profile, roles: usize, key: &CredentialKey) -> Self {
        let is_last = roles >= profile.role_chain.len();
        let has_policy = is_last && profile.is_narrow();
        Self {
            profile: profile.name.clone(),
            revision: key.revision,
            roles,
            partition: role::partition(key),
            account: key.registry.account().filter(|_| is_last || profile.first_roles_need_account(roles)),
            region: key.registry.region().filter(|_| has_policy).cloned(),
            short_lived: has_policy && key.lifetime.is_some(),
            caller: key.caller.clone().filter(|_| profile.first_roles_differ_by_caller(roles)),
        }
    }
}
