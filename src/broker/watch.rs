//! Watch of one registry: its updates, one at a time.
//!
//! A watch remembers only the last update. A slow watcher gets the latest state, not a backlog.

use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::Broker;
use super::active_policy::ActivePolicy;
use super::authorization::Authorization;
use super::known_ids::KnownIds;
use super::released::Released;
use super::request::CredentialRequest;
use crate::cache::{CacheStatus, Found, KeyChanges, RefreshState};
use crate::credential::{CredentialId, CredentialKey};
use crate::error::{BrokerError, FailureClass};
use crate::jitter;

/// Longest wait for the next check. A check is needed even without a change of the key: the clock may be stepped, grants may change,
/// and a watched registry must be refreshed in time.
const CHECK_INTERVAL: Duration = Duration::from_mins(1);
/// Shortest wait for the next check.
const MIN_DELAY: Duration = Duration::from_millis(50);
/// Longest backoff while AWS keeps denying the fetch. The backoff ends early when another client's request succeeds.
const MAX_DENIED_BACKOFF: Duration = Duration::from_mins(15);
/// Delay of the next try after a failure of the broker itself.
const BROKER_FAILURE_DELAY: Duration = Duration::from_secs(5);

/// An update of a watched registry.
#[derive(Debug)]
pub enum WatchUpdate {
    /// A credential that the watcher does not have.
    Released(Box<Released>),
    /// The watcher's credential is valid: the first update of the registry, or the end of a failure.
    Unchanged(CredentialId),
    /// A refresh failed, or there is no credential. Consecutive failures of the same kind are reported once.
    Failed(BrokerError),
}

/// A watch of one registry.
#[derive(Debug)]
pub struct Watch {
    broker: Arc<Broker>,
    request: CredentialRequest,
    /// The credentials that the watcher had before, until it has one of this watch.
    known_ids: KnownIds,
    /// The last decision, valid while its policy is active.
    decision: Option<(Arc<ActivePolicy>, Result<Authorization, BrokerError>)>,
    changes: Option<KeyChanges>,
    /// The credential that the watcher has now.
    current: Option<CredentialId>,
    /// The last update, if it was a failure.
    last_failure: Option<FailureKind>,
    /// Number of consecutive fetches for this watch that AWS denied.
    denied_fetches: u32,
    /// Whether the last wait ended by its timeout, not by a change of the key.
    waited_in_full: bool,
    /// The time of the next check, unless a change comes before; `None`: at once.
    next_check: Option<Instant>,
}

/// The kind of a failure: the error variant and its class. Consecutive failures of one kind are reported once.
type FailureKind = (Discriminant<BrokerError>, Option<FailureClass>);

impl Watch {
    /// Watches the registry of a request. Credentials in `known_ids` are only confirmed, not sent.
    #[must_use]
    pub fn new(broker: Arc<Broker>, request: CredentialRequest, known_ids: KnownIds) -> Self {
        Self {
            broker,
            request,
            known_ids,
            decision: None,
            changes: None,
            current: None,
            last_failure: None,
            denied_fetches: 0,
            waited_in_full: false,
            next_check: None,
        }
    }

    /// Returns the next update; the first one at once. Cancel safe: no update is lost if the future is dropped.
    pub async fn next(&mut self) -> WatchUpdate {
        loop {
            self.wait().await;
            // The caller may drop the future during the check. The next call must then check again at once.
            self.next_check = None;
            // Boxed: a check needs more memory than a wait, and watchers wait nearly all the time.
            if let Some(update) = Box::pin(self.revalidate()).await {
                return update;
            }
        }
    }

    async fn wait(&mut self) {
        let Some(next_check) = self.next_check else { return };
        self.waited_in_full = true;
        if let Some(changes) = &mut self.changes {
            self.waited_in_full = timeout_at(next_check, changes.next()).await.is_err();
        } else {
            sleep_until(next_check).await;
        }
    }

    /// Checks the authorization and the credential, and returns an update if the watcher does not know the result yet.
    async fn revalidate(&mut self) -> Option<WatchUpdate> {
        let authorization = match self.authorize().await {
            Ok(authorization) => authorization,
            Err(error) => return self.failure(error),
        };
        if let Err(error) = self.subscribe(&authorization.key) {
            return self.failure(error);
        }
        let lookup = authorization.lookup(&self.request);
        match self.broker.cache.get_for_watch(lookup.clone()).await {
            Ok(found) => {
                let refresh_state = self.broker.cache.refresh_state(&lookup).await;
                self.success(authorization, found, refresh_state).await
            }
            Err(error) => self.failure(error),
        }
    }

    /// Decides the request, unless the active policy has decided it.
    async fn authorize(&mut self) -> Result<Authorization, BrokerError> {
        let authorizer = &self.broker.authorizer;
        let policy = authorizer.active_policy();
        match &self.decision {
            Some((by, decision)) if by.decides_as(&policy) => decision.clone(),
            _ => {
                let decision = authorizer.authorize(&self.request, Arc::clone(&policy)).await;
                self.decision = Some((policy, decision.clone()));
                decision
            }
        }
    }

    /// Subscribes to the changes of a key. This comes before the lookup, so that no change during the lookup is missed.
    fn subscribe(&mut self, key: &CredentialKey) -> Result<(), BrokerError> {
        if self.changes.as_ref().is_none_or(|changes| changes.key() != key) {
            self.changes = None;
            self.changes = Some(self.broker.cache.subscribe(key)?);
        }
        Ok(())
    }

    /// Returns the update of a found credential, and schedules the next check.
    async fn success(
        &mut self,
        authorization: Authorization,
        found: Found,
        refresh_state: RefreshState,
    ) -> Option<WatchUpdate> {
        self.denied_fetches = 0;
        let retry = refresh_state.failure.as_ref().map(retry_delay);
        self.schedule(retry.or(refresh_state.due_in).unwrap_or(CHECK_INTERVAL));
        let (id, is_stale) = (found.credential.id(), found.status == CacheStatus::Stale);
        let is_first = self.current.is_none();
        let is_known = self.current == Some(id) || (is_first && self.known_ids.contains(id));
        if !is_known {
            return self.release(authorization, found).await;
        }
        (self.current, self.known_ids) = (Some(id), KnownIds::default());
        match refresh_state.failure {
            _ if is_first => Some(WatchUpdate::Unchanged(id)),
            Some(error) => self.failure(error),
            None if self.last_failure.is_some() && !is_stale => {
                self.last_failure = None;
                Some(WatchUpdate::Unchanged(id))
            }
            None => None,
        }
    }

    async fn release(&mut self, authorization: Authorization, found: Found) -> Option<WatchUpdate> {
        let id = found.credential.id();
        match self.broker.releaser.release(&self.request, authorization, found).await {
            Ok(released) => {
                self.broker.metrics.begin().release(&released.found);
                (self.current, self.last_failure, self.known_ids) = (Some(id), None, KnownIds::default());
                Some(WatchUpdate::Released(Box::new(released)))
            }
            Err(error) => self.failure(error),
        }
    }

    /// Schedules the next try, and returns an update if the kind of the failure is new.
    fn failure(&mut self, error: BrokerError) -> Option<WatchUpdate> {
        match (is_permanent(&error), self.waited_in_full) {
            (false, _) => self.denied_fetches = 0,
            (true, true) => self.denied_fetches = self.denied_fetches.saturating_add(1),
            // Another caller's fetch was denied, not one for this watch.
            (true, false) => {}
        }
        match self.denied_fetches {
            0 | 1 => self.schedule(retry_delay(&error)),
            count => self.schedule_in(denied_backoff(count)),
        }
        let kind = kind(&error);
        if self.last_failure.replace(kind) == Some(kind) {
            return None;
        }
        self.broker.metrics.begin().fail(&error);
        Some(WatchUpdate::Failed(error))
    }

    fn schedule(&mut self, delay: Duration) {
        self.schedule_in(delay.clamp(MIN_DELAY, CHECK_INTERVAL));
    }

    /// Schedules the next check, with jitter, because many clients may watch the same registry.
    fn schedule_in(&mut self, delay: Duration) {
        self.next_check = Some(Instant::now() + jitter::at_least(delay, 0.1));
    }
}

/// Returns the delay until a new try may succeed.
fn retry_delay(error: &BrokerError) -> Duration {
    match error {
        BrokerError::QueueFull { .. } | BrokerError::AuditUnavailable | BrokerError::Internal => BROKER_FAILURE_DELAY,
        other => other.retry_after().unwrap_or(CHECK_INTERVAL),
    }
}

/// Returns the exponential backoff after `count` denied fetches in a row.
fn denied_backoff(count: u32) -> Duration {
    CHECK_INTERVAL.saturating_mul(2_u32.saturating_pow(count)).min(MAX_DENIED_BACKOFF)
}

/// Returns whether the fetch fails until an operator changes permissions or settings.
fn is_permanent(error: &BrokerError) -> bool {
    matches!(error, BrokerError::Upstream(failure) if failure.class.is_permanent())
}

fn kind(error: &BrokerError) -> FailureKind {
    let class = if let BrokerError::Upstream(failure) = error { Some(failure.class) } else { None };
    (discriminant(error), class)
}
