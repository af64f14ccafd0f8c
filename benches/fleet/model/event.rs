//! Events in the order of their times. Events of one time keep their order, so that a seed has one outcome.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::fetcher::UnitId;

/// What happens. `life` counts the starts of a broker: an event of an earlier life is nothing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// A node starts, or starts again.
    NodeStart { node: u32, joins: bool },
    /// A central broker starts again.
    ParentStart { parent: u32 },
    /// A node's request for a key reaches the broker that fetches.
    Ask { node: u32, key: u32, life: u32 },
    /// A credential reaches a node.
    Deliver { node: u32, key: u32, life: u32 },
    /// A node's credential is due for a refresh by its parent.
    ChildRefresh { node: u32, key: u32, life: u32 },
    /// A cached credential is due for a refresh from AWS.
    Refresh { unit: UnitId, life: u32, version: u64 },
    /// A fetch goes on: its backoff or its wait for another replica is over.
    Continue { unit: UnitId, life: u32 },
    /// A call of a paced region may start.
    Pump { fetcher: u32, region: u32, life: u32 },
    /// AWS answers.
    Answer { unit: UnitId, life: u32, service: Service, is_admitted: bool },
    /// The shared tier has the value that another replica stored.
    Adopt { unit: UnitId, life: u32, version: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Sts,
    Ecr,
}

#[derive(Debug, Default)]
pub(super) struct Events {
    heap: BinaryHeap<Timed>,
    added: u64,
}

#[derive(Debug)]
struct Timed {
    at: f64,
    order: u64,
    event: Event,
}

impl Events {
    pub(super) fn add(&mut self, at: f64, event: Event) {
        self.heap.push(Timed { at, order: self.added, event });
        self.added += 1;
    }

    pub(super) fn next(&mut self) -> Option<(f64, Event)> {
        self.heap.pop().map(|timed| (timed.at, timed.event))
    }
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Timed {}

impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The earliest is the greatest, which the heap returns first.
impl Ord for Timed {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.total_cmp(&self.at).then(other.order.cmp(&self.order))
    }
}
