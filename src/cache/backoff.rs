//! The memory of failures: AWS is not asked again before a failure's hold is over.

use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;

use crate::credential::CredentialKey;
use crate::error::{BrokerError, UpstreamError};
use crate::moment::Moment;

/// The first hold of a passing failure; each further one in a row doubles it.
const FIRST_HOLD: Duration = Duration::from_millis(500);
/// The longest hold that we choose, and the hold of a denial.
const LONGEST_HOLD: Duration = Duration::from_secs(30);
/// The longest hold that we let AWS choose.
const LONGEST_ASKED_HOLD: Duration = Duration::from_mins(5);
/// A registry's refusals cause one fetch a key in this time.
const REJECTION_INTERVAL: Duration = Duration::from_mins(1);
/// A key that has not failed for so long starts over.
const FORGET_AFTER: Duration = Duration::from_mins(15);

/// What is remembered, key by key.
#[derive(Debug)]
pub(super) struct Failures(Cache<CredentialKey, Memory>);

#[derive(Debug, Clone, Default)]
struct Memory {
    in_a_row: u32,
    last: Option<(BrokerError, Duration)>,
    /// When, by the steady clock, a fetch was made because the registry had refused the credential.
    replaced_at: Option<Duration>,
}

impl Failures {
    /// Remembers up to `capacity` keys.
    pub(super) fn new(capacity: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(capacity)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(FORGET_AFTER)
            .build();
        Self(cache)
    }

    /// The failure whose hold is not over, with the rest of the hold to wait.
    pub(super) async fn held(&self, key: &CredentialKey, now: Moment) -> Result<(), BrokerError> {
        let memory = self.0.get(key).await.unwrap_or_default();
        let Some((error, until)) = memory.last else { return Ok(()) };
        let rest = until.saturating_sub(now.steady);
        if rest.is_zero() { Ok(()) } else { Err(with_wait(error, rest)) }
    }

    /// Keeps a failure, and gives it back with the time to wait.
    pub(super) async fn remember(&self, key: &CredentialKey, error: BrokerError, now: Moment) -> BrokerError {
        let mut memory = self.0.get(key).await.unwrap_or_default();
        let hold = hold(&error, memory.in_a_row);
        // One that says itself how long to wait says nothing of the next one's hold.
        memory.in_a_row += u32::from(!says_how_long(&error));
        memory.last = Some((error.clone(), now.steady + hold));
        self.0.insert(key.clone(), memory).await;
        with_wait(error, hold)
    }

    /// A fetch has gone well.
    pub(super) async fn forget(&self, key: &CredentialKey) {
        let Some(memory) = self.0.get(key).await else { return };
        match memory.replaced_at {
            Some(_) => self.0.insert(key.clone(), Memory { in_a_row: 0, last: None, ..memory }).await,
            None => self.0.invalidate(key).await,
        }
    }

    /// Whether a credential that the registry refused may be replaced already.
    pub(super) async fn may_replace_rejected(
        &self,
        key: &CredentialKey,
        now: Moment,
        unusable: BrokerError,
    ) -> Result<(), BrokerError> {
        let memory = self.0.get(key).await.unwrap_or_default();
        let Some(next) = memory.replaced_at.map(|at| at + REJECTION_INTERVAL) else { return Ok(()) };
        let rest = next.saturating_sub(now.steady);
        if rest.is_zero() {
            return Ok(());
        }
        let error = memory.last.map(|(error, _)| error);
        Err(with_wait(error.unwrap_or(unusable), rest))
    }

    /// A fetch is made because the registry refused the credential.
    pub(super) async fn note_rejected(&self, key: &CredentialKey, now: Moment) {
        let memory = self.0.get(key).await.unwrap_or_default();
        self.0.insert(key.clone(), Memory { replaced_at: Some(now.steady), ..memory }).await;
    }

    /// Drops what nobody has asked about for long.
    pub(super) async fn sweep(&self) {
        self.0.run_pending_tasks().await;
    }
}

fn hold(error: &BrokerError, in_a_row: u32) -> Duration {
    let BrokerError::Upstream(failure) = error else { return FIRST_HOLD };
    if failure.class.is_permanent() {
        return LONGEST_HOLD;
    }
    let doubled = FIRST_HOLD.saturating_mul(2_u32.saturating_pow(in_a_row)).min(LONGEST_HOLD);
    failure.retry_after.map_or(doubled, |asked| asked.clamp(FIRST_HOLD, LONGEST_ASKED_HOLD))
}

fn says_how_long(error: &BrokerError) -> bool {
    matches!(error, BrokerError::Upstream(failure) if failure.retry_after.is_some())
}

/// The time to wait is for failures that pass; nothing is won by repeating what was denied.
fn with_wait(error: BrokerError, wait: Duration) -> BrokerError {
    match error {
        BrokerError::Upstream(failure) => {
            let retry_after = (!failure.class.is_permanent()).then_some(wait);
            UpstreamError { retry_after, ..failure }.into()
        }
        other => other,
    }
}
