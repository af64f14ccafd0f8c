//! Limits over all regions: of the calls in flight, and of one requester's share of them. The first calls of a region do not count.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::concurrency_limit::as_role;
use super::fair_queue::LaneKey;
use super::first_share::{ExemptCalls, FirstShare};
use super::settings::Settings;
use crate::caller::Principal;
use crate::sync::lock;

/// Number of shares above which unused ones are dropped.
const MAX_IDLE_SHARES: usize = 100;

/// The calls in flight in all regions, beyond the first ones of each.
#[derive(Debug)]
pub(super) struct TotalLimit {
    in_flight: Limit,
    /// Shares by requester; `None`: the broker itself, whose `cache.keep_warm` must not crowd out callers.
    shares: Mutex<HashMap<Option<Principal>, Arc<RequesterShare>>>,
    max_of_one: usize,
    max_queued: usize,
}

/// The calls of one requester in all regions.
#[derive(Debug)]
pub(super) struct RequesterShare {
    first: FirstShare,
    in_flight: Limit,
    queued: AtomicUsize,
    max_queued: usize,
}

/// A limit of calls in flight, of which calls that use an assumed role may take three quarters.
#[derive(Debug)]
struct Limit {
    all: Arc<Semaphore>,
    as_role: Arc<Semaphore>,
}

/// One call of a limit. Dropping it ends the call.
#[derive(Debug)]
pub(super) struct LimitPermit {
    _as_role: Option<OwnedSemaphorePermit>,
    _all: OwnedSemaphorePermit,
}

/// A queued call of a requester. Dropping it ends the wait.
#[derive(Debug)]
pub(super) struct QueuedCall(Arc<RequesterShare>);

impl TotalLimit {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            in_flight: Limit::new(settings.max_in_flight),
            shares: Mutex::default(),
            max_of_one: (settings.max_in_flight / 2).max(1),
            max_queued: settings.max_queued_per_requester.max(1),
        }
    }

    /// Returns how many calls one requester may have in flight beyond the first ones of each region.
    pub(super) fn max_of_one(&self) -> usize {
        self.max_of_one
    }

    /// Waits until fewer calls are in flight than the limit. Each region has one call that waits, so regions take turns.
    pub(super) async fn acquire(&self, as_role: bool) -> Option<LimitPermit> {
        self.in_flight.acquire(as_role).await
    }

    /// Queues a call of a requester. `None`: as many of its calls are queued as may be (P8).
    pub(super) fn enqueue(&self, requester: Option<&Principal>) -> Option<QueuedCall> {
        let share = self.share(requester);
        let queued = share.queued.fetch_add(1, Ordering::Relaxed);
        let call = QueuedCall(share);
        (queued < call.0.max_queued).then_some(call)
    }

    /// Returns the requester's share. A share with calls in it is never dropped.
    fn share(&self, requester: Option<&Principal>) -> Arc<RequesterShare> {
        let requester = requester.cloned();
        let mut shares = lock(&self.shares);
        if shares.len() >= MAX_IDLE_SHARES && !shares.contains_key(&requester) {
            shares.retain(|_, share| {
                let is_unused = share.first.is_unused() && share.in_flight.all.available_permits() == self.max_of_one;
                Arc::strong_count(share) > 1 || !is_unused
            });
        }
        Arc::clone(shares.entry(requester).or_insert_with(|| {
            let (first, in_flight) = (FirstShare::new(), Limit::new(self.max_of_one));
            Arc::new(RequesterShare { first, in_flight, queued: AtomicUsize::new(0), max_queued: self.max_queued })
        }))
    }
}

impl QueuedCall {
    /// Returns the number of the requester's other queued calls.
    pub(super) fn others(&self) -> usize {
        self.0.queued.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// Waits until the requester may have one more of the first calls of a region.
    pub(super) async fn acquire_first(&self, exempt: &ExemptCalls, lane: &LaneKey) -> Option<OwnedSemaphorePermit> {
        self.0.first.acquire(exempt, lane).await
    }

    /// Waits until the requester has fewer calls in flight than its share.
    pub(super) async fn acquire(&self, as_role: bool) -> Option<LimitPermit> {
        self.0.in_flight.acquire(as_role).await
    }

    /// Returns whether the requester's share has no room for a call.
    pub(super) fn is_share_used_up(&self, as_role: bool) -> bool {
        self.0.in_flight.is_used_up(as_role)
    }
}

impl Limit {
    fn new(all: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), as_role: Arc::new(Semaphore::new(as_role(all))) }
    }

    async fn acquire(&self, as_role: bool) -> Option<LimitPermit> {
        let of_roles = if as_role { Some(acquire(&self.as_role).await?) } else { None };
        Some(LimitPermit { _as_role: of_roles, _all: acquire(&self.all).await? })
    }

    fn is_used_up(&self, as_role: bool) -> bool {
        self.all.available_permits() == 0 || as_role && self.as_role.available_permits() == 0
    }
}

impl Drop for QueuedCall {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `None` never happens: no semaphore is closed.
async fn acquire(semaphore: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(semaphore).acquire_owned().await.ok()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn limit(max_in_flight: usize) -> TotalLimit {
        TotalLimit::new(&Settings { max_in_flight_per_region: 64, max_in_flight, max_queued_per_requester: 3 })
    }

    #[test]
    fn requester_has_half_of_the_calls_in_flight() {
        let limit = limit(6);
        let in_flight = |requester: Option<&Principal>| {
            let calls = std::iter::from_fn(|| limit.enqueue(requester)?.acquire(false).now_or_never()?);
            calls.take(10).collect::<Vec<_>>()
        };
        let (own, of_caller) = (in_flight(None), in_flight(Some(&Principal::Uid(1))));
        assert_eq!((own.len(), of_caller.len()), (3, 3));
        drop(own);
        assert_eq!((in_flight(None).len(), in_flight(Some(&Principal::Uid(1))).len()), (3, 0));
    }

    #[test]
    fn roles_have_three_quarters_of_the_total_and_of_a_share() {
        let limit = limit(16);
        let own = limit.enqueue(None).unwrap();
        let of_share = |as_role| std::iter::from_fn(|| own.acquire(as_role).now_or_never()?).collect::<Vec<_>>();
        let in_total = |as_role| std::iter::from_fn(|| limit.acquire(as_role).now_or_never()?).collect::<Vec<_>>();
        let roles = (of_share(true), in_total(true));
        assert_eq!((roles.0.len(), roles.1.len()), (6, 12));
        assert!(own.is_share_used_up(true) && !own.is_share_used_up(false));
        let own_identity = (of_share(false), in_total(false));
        assert_eq!((own_identity.0.len(), own_identity.1.len()), (2, 4));
        assert!(own.is_share_used_up(false));
    }

    #[test]
    fn requester_has_a_limit_of_queued_calls() {
        let limit = limit(6);
        let mut queued: Vec<_> = std::iter::from_fn(|| limit.enqueue(None)).take(10).collect();
        assert_eq!((queued.len(), queued[0].others()), (3, 2));
        queued.pop();
        assert!(limit.enqueue(None).is_some() && limit.enqueue(Some(&Principal::Uid(1))).is_some());
    }

    #[test]
    fn unused_shares_are_dropped_and_those_in_use_are_kept() {
        let limit = limit(4);
        let in_flight: Vec<_> =
            (0..2).map(|_| limit.enqueue(None).unwrap().acquire(false).now_or_never().unwrap()).collect();
        for uid in 0..1_000 {
            drop(limit.enqueue(Some(&Principal::Uid(uid))));
        }
        assert!(lock(&limit.shares).len() <= MAX_IDLE_SHARES);
        assert!(limit.enqueue(None).unwrap().acquire(false).now_or_never().is_none(), "its calls are still in flight");
        drop(in_flight);
    }
}
