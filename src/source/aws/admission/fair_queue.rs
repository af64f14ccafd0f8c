//! Fair queue: each requester has its own lanes, which are served round-robin. A requester with ten thousand registries does not
//! delay a requester with one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::MutexGuard;

use crate::caller::Principal;
use crate::sync::lock;

/// Number of lanes above which empty ones are dropped.
const MAX_IDLE_LANES: usize = 100;

/// Queued calls, in one lane for each key.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    lanes: Mutex<HashMap<LaneKey, Arc<Lane>>>,
}

/// The requester (`None`: the broker itself), and whether the calls use an assumed role.
pub(super) type LaneKey = (Option<Principal>, bool);

/// The queued calls of one requester.
#[derive(Debug, Default)]
struct Lane {
    /// Locked by the lane's first call, which competes with the first calls of other lanes. The rest of the lane waits for it.
    head: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
}

/// A call's place in its lane. Dropping it leaves the lane.
#[derive(Debug)]
pub(super) struct LanePlace {
    lane: Arc<Lane>,
    calls_ahead: usize,
}

impl FairQueue {
    /// Enters the lane of `key`. A lane with calls in it is never dropped.
    pub(super) fn enter(&self, key: LaneKey) -> LanePlace {
        let mut lanes = lock(&self.lanes);
        if lanes.len() >= MAX_IDLE_LANES && !lanes.contains_key(&key) {
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
        }
        let lane = Arc::clone(lanes.entry(key).or_default());
        let calls_ahead = lane.waiting.fetch_add(1, Ordering::Relaxed);
        LanePlace { lane, calls_ahead }
    }
}

impl LanePlace {
    /// Returns how many calls were ahead in the lane when this one entered it.
    pub(super) fn calls_ahead(&self) -> usize {
        self.calls_ahead
    }

    /// Waits until this call is the first of its lane. It is the first for as long as the guard lives.
    pub(super) async fn head(&self) -> MutexGuard<'_, ()> {
        self.lane.head.lock().await
    }
}

impl Drop for LanePlace {
    fn drop(&mut self) {
        self.lane.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
