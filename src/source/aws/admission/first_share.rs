//! Share of one requester in the first calls of all regions, which do not count in the limits over all regions.
//!
//! A requester that may have every region could otherwise take the first slots of each. One call of its lane in each region does not
//! count in the share either: whatever hangs elsewhere, it is not delayed (P7).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fair_queue::LaneKey;
use crate::sync::lock;

/// First calls that a requester may have in flight in all regions, beside one of each region: those of sixteen regions.
pub(super) const MAX_FIRST: usize = 128;
/// Number of lanes above which unused ones are dropped.
const MAX_IDLE_LANES: usize = 100;

/// The call of each lane in one region that does not count in its requester's share.
#[derive(Debug, Default)]
pub(super) struct ExemptCalls(Mutex<HashMap<LaneKey, Arc<Semaphore>>>);

/// A requester's share of the first calls.
#[derive(Debug)]
pub(super) struct FirstShare(Arc<Semaphore>);

impl ExemptCalls {
    /// Returns the lane's exempt call. One that is in flight or waited for is never dropped.
    fn of(&self, lane: &LaneKey) -> Arc<Semaphore> {
        let mut lanes = lock(&self.0);
        if lanes.len() >= MAX_IDLE_LANES && !lanes.contains_key(lane) {
            lanes.retain(|_, call| Arc::strong_count(call) > 1);
        }
        Arc::clone(lanes.entry(lane.clone()).or_insert_with(|| Arc::new(Semaphore::new(1))))
    }
}

impl FirstShare {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_FIRST)))
    }

    /// Returns whether no call counts in the share.
    pub(super) fn is_unused(&self) -> bool {
        self.0.available_permits() == MAX_FIRST
    }

    /// Waits for the lane's exempt call in a region, or for one of the share. `None` never happens: no semaphore is closed.
    pub(super) async fn acquire(&self, exempt: &ExemptCalls, lane: &LaneKey) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            permit = exempt.of(lane).acquire_owned() => permit.ok(),
            permit = Arc::clone(&self.0).acquire_owned() => permit.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::caller::Principal;

    #[test]
    fn requester_has_128_first_calls_and_one_more_in_each_region() {
        let (share, regions) = (FirstShare::new(), [ExemptCalls::default(), ExemptCalls::default()]);
        let lane = (Some(Principal::Uid(1)), false);
        let acquire = |region: usize| share.acquire(&regions[region], &lane).now_or_never().flatten();
        let mut in_flight: Vec<_> = std::iter::from_fn(|| acquire(0)).collect();
        assert_eq!((in_flight.len(), share.is_unused()), (MAX_FIRST + 1, false));
        let other_region = acquire(1);
        assert!(other_region.is_some() && acquire(1).is_none());
        in_flight.pop();
        assert!(acquire(1).is_some());
        drop((in_flight, other_region));
        assert!(share.is_unused());
    }

    #[test]
    fn unused_lanes_are_dropped_and_those_in_use_are_kept() {
        let (share, calls) = (FirstShare::new(), ExemptCalls::default());
        let own = (None, false);
        let permit = share.acquire(&calls, &own).now_or_never().flatten();
        for uid in 0..1_000 {
            drop(calls.of(&(Some(Principal::Uid(uid)), true)));
        }
        assert!(lock(&calls.0).len() <= MAX_IDLE_LANES);
        assert_eq!(calls.of(&own).available_permits(), 0, "its call is still in flight");
        drop(permit);
    }
}
