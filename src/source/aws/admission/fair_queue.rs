//! Fair queue: each requester has its own lanes, which are served round-robin. A requester with ten thousand registries does not
//! delay a requester with one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::MutexGuard;

use crate::caller::Principal;
use crate::sync::lock;

/// Queued calls, in one lane for each key.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    lanes: Arc<Mutex<Lanes>>,
    fetches: Arc<AtomicUsize>,
}

/// A fetch with a place in one or more lanes. Dropping it ends its wait.
#[derive(Debug)]
pub(super) struct QueuedFetch(Arc<AtomicUsize>);

/// The requester (`None`: the broker itself), and whether the calls use an assumed role.
pub(super) type LaneKey = (Option<Principal>, bool);

/// The lanes that have calls in them.
type Lanes = HashMap<LaneKey, Lane>;

/// The queued calls of one requester.
#[derive(Debug, Default)]
struct Lane {
    /// Locked by the lane's first call, which competes with the first calls of other lanes. The rest of the lane waits for it.
    head: Arc<tokio::sync::Mutex<()>>,
    waiting: usize,
}

/// A call's place in its lane. Dropping it leaves the lane.
#[derive(Debug)]
pub(super) struct LanePlace {
    lanes: Arc<Mutex<Lanes>>,
    key: LaneKey,
    head: Arc<tokio::sync::Mutex<()>>,
    calls_ahead: usize,
}

impl FairQueue {
    /// Begins the wait of a fetch, before it enters its lanes.
    pub(super) fn begin_fetch(&self) -> QueuedFetch {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        QueuedFetch(Arc::clone(&self.fetches))
    }

    /// Returns the number of fetches that wait.
    pub(super) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::Relaxed)
    }

    /// Enters the lane of `key`.
    pub(super) fn enter(&self, key: LaneKey) -> LanePlace {
        let mut lanes = lock(&self.lanes);
        let ahead = lanes.get(&key).map_or(0, |lane| lane.waiting);
        // Lanes take turns, and this one comes last: before this call, each other lane starts one call more than this lane.
        let others = lanes.iter().filter(|(other, _)| **other != key);
        let turns = ahead + others.map(|(_, lane)| lane.waiting.min(ahead + 1)).sum::<usize>();
        // A fetch of several callers has a place in the lane of each, and starts once.
        let calls_ahead = turns.min(self.fetches.load(Ordering::Relaxed).saturating_sub(1));
        let lane = lanes.entry(key.clone()).or_default();
        lane.waiting += 1;
        LanePlace { lanes: Arc::clone(&self.lanes), key, head: Arc::clone(&lane.head), calls_ahead }
    }
}

impl LanePlace {
    /// Returns how many calls, of all lanes, were ahead of this one when it entered its lane.
    pub(super) fn calls_ahead(&self) -> usize {
        self.calls_ahead
    }

    /// Returns the lane.
    pub(super) fn lane(&self) -> &LaneKey {
        &self.key
    }

    /// Waits until this call is the first of its lane. It is the first for as long as the guard lives.
    pub(super) async fn head(&self) -> MutexGuard<'_, ()> {
        self.head.lock().await
    }
}

impl Drop for QueuedFetch {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for LanePlace {
    fn drop(&mut self) {
        let mut lanes = lock(&self.lanes);
        if let Some(lane) = lanes.get_mut(&self.key) {
            lane.waiting -= 1;
            if lane.waiting == 0 {
                lanes.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_ahead_are_the_turns_of_all_lanes_before_the_call() {
        let queue = FairQueue::default();
        let enter = |uid| (queue.begin_fetch(), queue.enter((Some(Principal::Uid(uid)), false)));
        let greedy: Vec<_> = (0..100).map(|_| enter(1)).collect();
        assert_eq!(greedy[99].1.calls_ahead(), 99);
        let modest = [enter(2), enter(2), enter(2)];
        assert_eq!(modest.each_ref().map(|(_, place)| place.calls_ahead()), [1, 3, 5], "two lanes take turns");
        assert_eq!(enter(1).1.calls_ahead(), 100 + 3);
        drop((greedy, modest));
        assert!(lock(&queue.lanes).is_empty());
    }

    #[test]
    fn first_call_of_a_lane_comes_after_those_of_all_other_lanes() {
        let queue = FairQueue::default();
        let enter = |uid| (queue.begin_fetch(), queue.enter((Some(Principal::Uid(uid)), false)));
        let callers: Vec<_> = (0..500).map(enter).collect();
        assert!((0..).zip(&callers).all(|(number, (_, place))| place.calls_ahead() == number));
    }

    #[test]
    fn fetch_in_several_lanes_counts_once() {
        let queue = FairQueue::default();
        let fetch = queue.begin_fetch();
        let places: Vec<_> = (0..100).map(|uid| queue.enter((Some(Principal::Uid(uid)), false))).collect();
        assert!(places.iter().all(|place| place.calls_ahead() == 0), "the fetch does not wait for itself");
        let next = (queue.begin_fetch(), queue.enter((Some(Principal::Uid(100)), false)));
        assert_eq!(next.1.calls_ahead(), 1);
        drop(fetch);
    }
}
