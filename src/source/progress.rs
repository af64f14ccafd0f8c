//! Progress of one fetch, shared between the callers that wait for it and the layers that serve it.
//!
//! A caller thus learns why it waits: it can leave at once if its deadline comes before its turn, and shortly before its deadline it
//! gets the cause instead of DEADLINE. The queue learns who waits: the fetch has a place in the lane of each requester.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::caller::Principal;
use crate::error::{BrokerError, UpstreamError};
use crate::jitter;

/// Shortest retry delay of a call in the queue: 0.5 s to 1.5 s.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(500);
const RETRY_SPREAD: f64 = 2.0;
/// Maximum number of requesters in whose lanes a fetch queues. Each lane costs memory and time; those that join later only coalesce.
const MAX_REQUESTERS: usize = 1_024;

/// Progress of one fetch. A clone is another handle of the same fetch.
#[derive(Debug, Clone, Default)]
pub struct FetchProgress(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The requesters that wait for the fetch; `None`: the broker itself.
    requesters: watch::Sender<Vec<Option<Principal>>>,
    state: watch::Sender<State>,
}

/// Why the fetch has not ended.
#[derive(Debug, Clone, Default)]
struct State {
    queued: Option<Queued>,
    /// The last failure. The fetch is a new attempt after it.
    failure: Option<UpstreamError>,
}

/// A wait in the queue.
#[derive(Debug, Clone)]
struct Queued {
    /// The requesters whose lanes are part of the estimate.
    requesters: Vec<Option<Principal>>,
    /// Estimate of the time at which the first lane serves the fetch.
    start: Instant,
}

impl FetchProgress {
    /// Adds a requester that waits for the fetch, if there are not too many.
    pub fn add_requester(&self, requester: Option<&Principal>) {
        self.0.requesters.send_if_modified(|requesters| {
            let is_new =
                requesters.len() < MAX_REQUESTERS && !requesters.iter().any(|known| known.as_ref() == requester);
            if is_new {
                requesters.push(requester.cloned());
            }
            is_new
        });
    }

    /// Returns the requesters, and notifies of those that join. While the fetch lasts, none is removed.
    #[must_use]
    pub fn requesters(&self) -> watch::Receiver<Vec<Option<Principal>>> {
        self.0.requesters.subscribe()
    }

    /// Begins a fetch; `last_failure` is the transient failure of the key's last fetch, if that failed.
    pub fn begin(&self, last_failure: Option<UpstreamError>) {
        self.0.state.send_replace(State { queued: None, failure: last_failure });
    }

    /// Ends the fetch. The handle may serve another one.
    pub fn end(&self) {
        self.0.requesters.send_modify(Vec::clear);
        self.begin(None);
    }

    /// Records that the fetch queues in the lane of `requester`, and that this lane may serve it at `start`.
    pub fn enter_lane(&self, requester: Option<&Principal>, start: Instant) {
        self.0.state.send_modify(|state| {
            let queued = state.queued.get_or_insert_with(|| Queued { requesters: Vec::new(), start });
            queued.start = queued.start.min(start);
            queued.requesters.push(requester.cloned());
        });
    }

    /// Records that the fetch left the queue.
    pub fn leave_queue(&self) {
        self.0.state.send_modify(|state| state.queued = None);
    }

    /// Records that an attempt failed and another one follows.
    pub fn retry(&self, failure: UpstreamError) {
        self.0.state.send_modify(|state| state.failure = Some(failure));
    }

    /// Follows another fetch, for which this one waits: gives it this one's requesters, and takes over its state.
    pub async fn follow(&self, other: &Self) -> Infallible {
        let (mut requesters, mut states) = (self.requesters(), other.0.state.subscribe());
        requesters.mark_changed();
        states.mark_changed();
        loop {
            tokio::select! {
                Ok(()) = requesters.changed() => {
                    let joined = requesters.borrow_and_update().clone();
                    for requester in &joined {
                        other.add_requester(requester.as_ref());
                    }
                }
                Ok(()) = states.changed() => {
                    let state = states.borrow_and_update().clone();
                    self.0.state.send_replace(state);
                }
                // Both handles keep their senders, so this never happens.
                else => pending().await,
            }
        }
    }

    /// Waits until the fetch has a place in the lane of `requester`. Returns an error if the fetch starts only after `deadline`, else
    /// never.
    pub async fn starts_after(&self, requester: Option<&Principal>, deadline: Instant) -> BrokerError {
        let has_lane = |queued: &Queued| queued.requesters.iter().any(|known| known.as_ref() == requester);
        let start =
            self.find(|state| state.queued.as_ref().filter(|queued| has_lane(queued)).map(|queued| queued.start));
        let start = start.await;
        if start <= deadline {
            std::future::pending::<()>().await;
        }
        queue_full(start)
    }

    /// Returns why the fetch has not ended, once that is known.
    pub async fn cause(&self) -> BrokerError {
        self.find(|state| match (&state.queued, &state.failure) {
            (Some(queued), _) => Some(queue_full(queued.start)),
            (None, failure) => failure.clone().map(BrokerError::Upstream),
        })
        .await
    }

    /// Waits for a state from which `find` returns a value.
    async fn find<T>(&self, find: impl Fn(&State) -> Option<T>) -> T {
        let mut states = self.0.state.subscribe();
        loop {
            if let Some(found) = find(&states.borrow_and_update()) {
                return found;
            }
            if states.changed().await.is_err() {
                // `self` keeps the sender, so this never happens.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Returns the retry delay of a call that would wait for `wait` in the queue.
#[must_use]
pub fn retry_delay(wait: Duration) -> Duration {
    wait.max(jitter::at_least(MIN_RETRY_DELAY, RETRY_SPREAD))
}

/// Returns the error of a caller that cannot wait until `start`. By then its fetch may be cached.
fn queue_full(start: Instant) -> BrokerError {
    BrokerError::QueueFull { retry_after: retry_delay(start.saturating_duration_since(Instant::now())) }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::error::FailureClass;

    const SECOND: Duration = Duration::from_secs(1);

    fn retry_after(error: Option<BrokerError>) -> Option<Duration> {
        match error? {
            BrokerError::QueueFull { retry_after } => Some(retry_after),
            error => panic!("{error:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn cause_is_the_queue_then_the_last_failure_then_unknown() {
        let progress = FetchProgress::default();
        let cause = || progress.cause().now_or_never();
        assert_eq!(cause(), None);
        let failure = UpstreamError::aws(FailureClass::Unavailable);
        progress.begin(Some(failure.clone()));
        progress.enter_lane(None, Instant::now() + 9 * SECOND);
        assert_eq!(retry_after(cause()), Some(9 * SECOND));
        progress.enter_lane(Some(&Principal::Uid(1)), Instant::now());
        let delay = retry_after(cause()).expect("queued");
        assert!(MIN_RETRY_DELAY <= delay && delay <= 3 * MIN_RETRY_DELAY, "the shorter lane counts: {delay:?}");
        progress.leave_queue();
        assert_eq!(cause(), Some(BrokerError::Upstream(failure)));
        progress.end();
        assert_eq!(cause(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn caller_waits_for_its_own_lane_before_it_leaves() {
        let (progress, uid) = (FetchProgress::default(), Principal::Uid(1));
        let leaves = || progress.starts_after(Some(&uid), Instant::now() + SECOND).now_or_never();
        progress.enter_lane(None, Instant::now() + 9 * SECOND);
        assert_eq!(leaves(), None, "the caller's own lane may be shorter");
        progress.enter_lane(Some(&uid), Instant::now() + 5 * SECOND);
        assert_eq!(retry_after(leaves()), Some(5 * SECOND));
        progress.enter_lane(Some(&Principal::Uid(2)), Instant::now() + SECOND);
        assert_eq!(leaves(), None);
    }

    #[tokio::test]
    async fn requesters_are_listed_once_until_the_fetch_ends() {
        let (progress, uid) = (FetchProgress::default(), Principal::Uid(1));
        let requesters = progress.requesters();
        for requester in [None, Some(&uid), None, Some(&uid)] {
            progress.add_requester(requester);
        }
        assert_eq!(*requesters.borrow(), [None, Some(uid)]);
        progress.end();
        assert!(requesters.borrow().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn fetch_that_follows_another_shares_its_requesters_and_its_state() {
        let (own, other, uid) = (FetchProgress::default(), FetchProgress::default(), Principal::Uid(1));
        own.add_requester(Some(&uid));
        let mut follow = Box::pin(own.follow(&other));
        assert!(follow.as_mut().now_or_never().is_none());
        assert_eq!(*other.requesters().borrow(), [Some(uid.clone())]);
        own.add_requester(None);
        other.enter_lane(Some(&uid), Instant::now() + 9 * SECOND);
        assert!(follow.as_mut().now_or_never().is_none());
        assert_eq!(*other.requesters().borrow(), [Some(uid), None]);
        assert_eq!(retry_after(own.cause().now_or_never()), Some(9 * SECOND));
        other.leave_queue();
        assert!(follow.now_or_never().is_none());
        assert_eq!(own.cause().now_or_never(), None);
    }

    #[tokio::test]
    async fn requesters_are_bounded() {
        let progress = FetchProgress::default();
        (0..2_000).for_each(|uid| progress.add_requester(Some(&Principal::Uid(uid))));
        assert_eq!(progress.requesters().borrow().len(), MAX_REQUESTERS);
    }
}
