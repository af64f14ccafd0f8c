//! Failure backoff: after a failure, the source is not called for the key until the backoff ends (P6).

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;

use super::key_status::KeyFailure;
use crate::credential::CredentialKey;
use crate::error::{BrokerError, UpstreamError};
use crate::moment::Moment;

/// Backoff after the first transient failure. Each further failure in a row doubles it.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// Longest backoff that the broker chooses, and the backoff after a permanent failure.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Longest backoff that the source may request.
const MAX_REQUESTED_BACKOFF: Duration = Duration::from_mins(5);
/// Shortest time between two fetches that replace a credential because the registry rejected it.
const REPLACEMENT_INTERVAL: Duration = Duration::from_mins(1);
/// Age from which a failure is not named as the cause of a wait.
const MAX_CAUSE_AGE: Duration = Duration::from_mins(1);
/// Idle time after which a key's failures are forgotten.
const FORGET_AFTER: Duration = Duration::from_mins(15);

/// Failure records by key.
#[derive(Debug)]
pub(super) struct FetchBackoff(Cache<CredentialKey, FailureRecord>);

/// Failures and the last replacement of one key.
#[derive(Debug, Clone, Default)]
struct FailureRecord {
    failures_in_a_row: u32,
    last: Option<LastFailure>,
    /// Time of the last replacement of a rejected credential, on the monotonic clock.
    replaced_at: Option<Duration>,
}

/// The last failure, with its time and the end of its backoff on the monotonic clock.
#[derive(Debug, Clone)]
struct LastFailure {
    error: BrokerError,
    at: Duration,
    until: Duration,
}

impl FetchBackoff {
    /// Remembers up to `capacity` keys.
    pub(super) fn new(capacity: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(capacity)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(FORGET_AFTER)
            .build();
        Self(cache)
    }

    /// Checks that the source may be called for a key.
    ///
    /// # Errors
    /// Returns the last failure if its backoff has not ended, with the rest of the backoff as its retry delay.
    pub(super) async fn check(&self, key: &CredentialKey, now: Moment) -> Result<(), BrokerError> {
        let Some(LastFailure { error, until, .. }) = self.record(key).await.last else { return Ok(()) };
        let rest = until.saturating_sub(now.steady);
        if rest.is_zero() { Ok(()) } else { Err(with_retry_after(error, rest)) }
    }

    /// Returns the failure of a key's last fetch, if that failed transiently in the last minute.
    pub(super) async fn last_failure(&self, key: &CredentialKey, now: Moment) -> Option<UpstreamError> {
        let last = self.record(key).await.last?;
        let is_recent = now.steady.saturating_sub(last.at) < MAX_CAUSE_AGE;
        match last.error {
            BrokerError::Upstream(failure) if is_recent && !failure.class.is_permanent() => {
                Some(UpstreamError { retry_after: None, ..failure })
            }
            _ => None,
        }
    }

    /// Records a failure, and returns it with its backoff as the retry delay.
    pub(super) async fn record_failure(&self, key: &CredentialKey, error: BrokerError, now: Moment) -> BrokerError {
        let mut record = self.record(key).await;
        let backoff = backoff(&error, record.failures_in_a_row);
        // A delay that the source requested does not lengthen the next backoff.
        record.failures_in_a_row += u32::from(!has_requested_delay(&error));
        record.last = Some(LastFailure { error: error.clone(), at: now.steady, until: now.steady + backoff });
        self.0.insert(key.clone(), record).await;
        with_retry_after(error, backoff)
    }

    /// Records a successful fetch.
    pub(super) async fn record_success(&self, key: &CredentialKey) {
        let Some(record) = self.0.get(key).await else { return };
        match record.replaced_at {
            Some(_) => {
                self.0.insert(key.clone(), FailureRecord { failures_in_a_row: 0, last: None, ..record }).await;
            }
            None => self.0.invalidate(key).await,
        }
    }

    /// Checks that a rejected credential may be replaced now.
    ///
    /// # Errors
    /// If the last replacement is less than a minute ago, returns the last failure, or `rejected_again` if none is recorded.
    pub(super) async fn check_replacement(
        &self,
        key: &CredentialKey,
        now: Moment,
        rejected_again: BrokerError,
    ) -> Result<(), BrokerError> {
        let record = self.record(key).await;
        let Some(next) = record.replaced_at.map(|at| at + REPLACEMENT_INTERVAL) else { return Ok(()) };
        let rest = next.saturating_sub(now.steady);
        if rest.is_zero() {
            return Ok(());
        }
        let last = record.last.map(|last| last.error);
        Err(with_retry_after(last.unwrap_or(rejected_again), rest))
    }

    /// Records the replacement of a rejected credential.
    pub(super) async fn record_replacement(&self, key: &CredentialKey, now: Moment) {
        let record = self.record(key).await;
        self.0.insert(key.clone(), FailureRecord { replaced_at: Some(now.steady), ..record }).await;
    }

    /// Returns the keys whose last fetch failed, with the failure, its age and the rest of its backoff. Keeps no idle key alive.
    pub(super) fn failures(&self, now: Moment) -> impl Iterator<Item = (Arc<CredentialKey>, KeyFailure)> {
        self.0.iter().filter_map(move |(key, record)| {
            let LastFailure { error, at, until } = record.last?;
            let (age, retry_in) = (now.steady.saturating_sub(at), until.saturating_sub(now.steady));
            Some((key, KeyFailure { reason: error.reason(), age, retry_in }))
        })
    }

    /// Forgets the failures of keys.
    pub(super) async fn forget(&self, is_forgotten: impl Fn(&CredentialKey) -> bool) {
        let keys: Vec<_> = self.0.iter().map(|(key, _)| key).filter(|key| is_forgotten(key)).collect();
        for key in keys {
            self.0.invalidate(&*key).await;
        }
    }

    /// Evicts idle keys.
    pub(super) async fn sweep(&self) {
        self.0.run_pending_tasks().await;
    }

    async fn record(&self, key: &CredentialKey) -> FailureRecord {
        self.0.get(key).await.unwrap_or_default()
    }
}

fn backoff(error: &BrokerError, failures_in_a_row: u32) -> Duration {
    let BrokerError::Upstream(failure) = error else { return FIRST_BACKOFF };
    if failure.class.is_permanent() {
        return MAX_BACKOFF;
    }
    let doubled = FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(failures_in_a_row)).min(MAX_BACKOFF);
    failure.retry_after.map_or(doubled, |requested| requested.clamp(FIRST_BACKOFF, MAX_REQUESTED_BACKOFF))
}

fn has_requested_delay(error: &BrokerError) -> bool {
    matches!(error, BrokerError::Upstream(failure) if failure.retry_after.is_some())
}

/// Sets the retry delay. A permanent failure has none, because a retry does not help.
fn with_retry_after(error: BrokerError, delay: Duration) -> BrokerError {
    match error {
        BrokerError::Upstream(failure) => {
            let retry_after = (!failure.class.is_permanent()).then_some(delay);
            UpstreamError { retry_after, ..failure }.into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::credential::{ProfileName, Revision};
    use crate::error::FailureClass;
    use crate::registry::Registry;

    #[tokio::test]
    async fn failure_is_named_as_the_cause_for_a_minute() {
        let backoff = FetchBackoff::new(10);
        let key = CredentialKey {
            profile: ProfileName::default_profile(),
            registry: Registry::PUBLIC,
            revision: Revision::default(),
            caller: None,
            lifetime: None,
        };
        let at = |steady| Moment { wall: SystemTime::UNIX_EPOCH, steady };
        let failure = UpstreamError::aws(FailureClass::Unavailable);
        backoff.record_failure(&key, failure.clone().into(), at(Duration::ZERO)).await;
        let cause = async |after| backoff.last_failure(&key, at(Duration::from_secs(after))).await;
        assert_eq!((cause(59).await, cause(60).await), (Some(failure), None));
    }
}
