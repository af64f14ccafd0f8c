//! Fair queue: each requester has its own lanes, which are served round-robin. A requester with ten thousand registries does not
//! delay a requester with one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::MutexGuard;

use crate::caller::Principal;
use crate::sync::lock;

/// Queued calls, in one lane for each key.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    lanes: Arc<Mutex<Lanes>>,
}

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
    /// Enters the lane of `key`.
    pub(super) fn enter(&self, key: LaneKey) -> LanePlace {
        let mut lanes = lock(&self.lanes);
        let ahead = lanes.get(&key).map_or(0, |lane| lane.waiting);
        // Lanes take turns: before this call, each starts as many calls as this lane.
        let calls_ahead = lanes.values().map(|lane| lane.waiting.min(ahead)).sum();
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

    /// Waits until this call is the first of its lane. It is the first for as long as the guard lives.
    pub(super) async fn head(&self) -> MutexGuard<'_, ()> {
        self.head.lock().await
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
        let enter = |uid| queue.enter((Some(Principal::Uid(uid)), false));
        let greedy: Vec<_> = (0..100).map(|_| enter(1)).collect();
        assert_eq!(greedy[99].calls_ahead(), 99);
        let modest = [enter(2), enter(2), enter(2)];
        assert_eq!(modest.each_ref().map(LanePlace::calls_ahead), [0, 2, 4], "two lanes take turns");
        assert_eq!(enter(1).calls_ahead(), 100 + 3);
        drop((greedy, modest));
        assert!(lock(&queue.lanes).is_empty());
    }
}
