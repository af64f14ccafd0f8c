//! Following one registry: what is new of it, one thing at a time, however long that takes.
//!
//! Nothing is kept for a watcher but what it was told last. Whoever is slow to ask what is new learns of the latest only.

use std::collections::HashSet;
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::{ActivePolicy, Authorization, Broker, CredentialRequest, Released, lookup};
use crate::cache::{CacheStatus, Found, KeyChanges, RefreshState};
use crate::credential::{CredentialId, CredentialKey};
use crate::error::{BrokerError, FailureClass};

/// It is looked at least so often, for clocks are set, grants change, and a watched registry is to be kept warm.
const INTERVAL: Duration = Duration::from_mins(1);
/// But what AWS refuses again and again only so often; whoever gets it by asking has the watchers told.
const LONGEST_REST: Duration = Duration::from_mins(15);
/// And nothing sooner than after this.
const SHORTEST_REST: Duration = Duration::from_millis(50);
/// When what the broker itself stood in the way of is tried again.
const OWN_TROUBLE: Duration = Duration::from_secs(5);

/// What is new of a watched registry.
#[derive(Debug)]
pub enum WatchUpdate {
    /// A credential that the watcher does not hold.
    Released(Box<Released>),
    /// The one that it holds is good: the first thing that is said of it, or the end of a failure.
    Unchanged(CredentialId),
    /// A refresh failed, or there is no credential. Each kind of failure is said once in a row.
    Failed(BrokerError),
}

/// One registry that somebody follows.
#[derive(Debug)]
pub struct Watch {
    broker: Arc<Broker>,
    request: CredentialRequest,
    /// What the watcher held before.
    known: Arc<HashSet<CredentialId>>,
    /// What was decided, and by which policy; it holds for as long as that is in force.
    decision: Option<(Arc<ActivePolicy>, Result<Authorization, BrokerError>)>,
    changes: Option<KeyChanges>,
    /// What it holds now.
    held: Option<CredentialId>,
    /// What it was told last, where that was a failure.
    trouble: Option<Kind>,
    /// How often in a row AWS was asked on this watcher's behalf and refused for good.
    refusals: u32,
    /// Whether it waited for as long as it meant to, before it looked.
    rested: bool,
    /// When it is looked at again, unless something becomes of it before; at first at once.
    next_look: Option<Instant>,
}

type Kind = (Discriminant<BrokerError>, Option<FailureClass>);

impl Watch {
    /// Begins to follow what a request asks for. Of credentials in `known` it is only said that they are good.
    #[must_use]
    pub fn new(broker: Arc<Broker>, request: CredentialRequest, known: Arc<HashSet<CredentialId>>) -> Self {
        Self {
            broker,
            request,
            known,
            decision: None,
            changes: None,
            held: None,
            trouble: None,
            refusals: 0,
            rested: false,
            next_look: None,
        }
    }

    /// What is new, as soon as there is something; at first, how things are. Nothing is lost where this is given up and called again.
    pub async fn next(&mut self) -> WatchUpdate {
        loop {
            self.wait().await;
            // Until it has been looked: this may be given up in between.
            self.next_look = None;
            // Looking takes more memory than waiting, and watchers wait for nearly all of their time.
            if let Some(news) = Box::pin(self.look()).await {
                return news;
            }
        }
    }

    async fn wait(&mut self) {
        let Some(next_look) = self.next_look else { return };
        self.rested = true;
        if let Some(changes) = &mut self.changes {
            self.rested = timeout_at(next_look, changes.next()).await.is_err();
        } else {
            sleep_until(next_look).await;
        }
    }

    async fn look(&mut self) -> Option<WatchUpdate> {
        let policy = self.broker.policy.load_full();
        let same = self.decision.as_ref().is_some_and(|(by, _)| by.name == policy.name);
        if !same {
            let permit = self.broker.permit(&self.request, Arc::clone(&policy)).await;
            self.decision = Some((policy, permit));
        }
        let permit = match &self.decision {
            Some((_, Ok(permit))) => permit.clone(),
            Some((_, Err(error))) => return self.failed(error.clone()),
            None => return None,
        };
        if let Err(error) = self.follow(&permit.key) {
            return self.failed(error);
        }
        let lookup = lookup(&self.request, &permit.key);
        match self.broker.cache.get_for_watch(lookup.clone()).await {
            Ok(found) => {
                let refresh_state = self.broker.cache.refresh_state(&lookup).await;
                self.weigh(permit, found, refresh_state).await
            }
            Err(error) => self.failed(error),
        }
    }

    /// What becomes of a key while it is looked at must not be missed, so this comes first.
    fn follow(&mut self, key: &CredentialKey) -> Result<(), BrokerError> {
        if self.changes.as_ref().is_none_or(|changes| changes.key() != key) {
            self.changes = None;
            self.changes = Some(self.broker.cache.changes(key)?);
        }
        Ok(())
    }

    async fn weigh(&mut self, permit: Authorization, found: Found, refresh_state: RefreshState) -> Option<WatchUpdate> {
        self.refusals = 0;
        let retry = refresh_state.failure.as_ref().map(patience);
        self.rest(retry.or(refresh_state.due_in).unwrap_or(INTERVAL));
        let (id, is_stale) = (found.credential.id(), found.status == CacheStatus::Stale);
        let is_first = self.held.is_none();
        if self.held != Some(id) && !(is_first && self.known.contains(&id)) {
            return Some(match self.broker.release(&self.request, permit, found).await {
                Ok(released) => {
                    (self.held, self.trouble) = (Some(id), None);
                    WatchUpdate::Released(Box::new(released))
                }
                Err(error) => return self.failed(error),
            });
        }
        self.held = Some(id);
        match refresh_state.failure {
            _ if is_first => Some(WatchUpdate::Unchanged(id)),
            Some(error) => self.failed(error),
            None if self.trouble.is_some() && !is_stale => {
                self.trouble = None;
                Some(WatchUpdate::Unchanged(id))
            }
            None => None,
        }
    }

    fn failed(&mut self, error: BrokerError) -> Option<WatchUpdate> {
        match (is_permanent(&error), self.rested) {
            (false, _) => self.refusals = 0,
            (true, true) => self.refusals = self.refusals.saturating_add(1),
            // It was told of somebody else's.
            (true, false) => {}
        }
        match self.refusals {
            0 | 1 => self.rest(patience(&error)),
            more => self.rest_for(INTERVAL.saturating_mul(2_u32.saturating_pow(more)).min(LONGEST_REST)),
        }
        let kind = kind(&error);
        (self.trouble.replace(kind) != Some(kind)).then_some(WatchUpdate::Failed(error))
    }

    fn rest(&mut self, time: Duration) {
        self.rest_for(time.clamp(SHORTEST_REST, INTERVAL));
    }

    /// A little longer, and not all the same: many may watch for the same.
    fn rest_for(&mut self, time: Duration) {
        self.next_look = Some(Instant::now() + time.mul_f64(1.0 + 0.1 * fastrand::f64()));
    }
}

/// When it may be worth trying again.
fn patience(error: &BrokerError) -> Duration {
    match error {
        BrokerError::QueueFull { .. } | BrokerError::AuditUnavailable | BrokerError::Internal => OWN_TROUBLE,
        other => other.retry_after().unwrap_or(INTERVAL),
    }
}

/// Whether AWS has refused, and will, until somebody changes what it goes by.
fn is_permanent(error: &BrokerError) -> bool {
    matches!(error, BrokerError::Upstream(failure) if failure.class.is_permanent())
}

fn kind(error: &BrokerError) -> Kind {
    let class = if let BrokerError::Upstream(failure) = error { Some(failure.class) } else { None };
    (discriminant(error), class)
}
