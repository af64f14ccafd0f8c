//! Semaphore whose size follows a limit. The size may fall below the number of slots in use.
//!
//! tokio's semaphore gives up only free permits. Here a shrunken semaphore has no free slot until enough calls have ended.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::sync::lock;

/// Slots of calls in flight.
#[derive(Debug)]
pub(super) struct Slots {
    state: Mutex<State>,
    /// Locked by the call that waits for a slot. The others queue for the lock, first come, first served.
    next: tokio::sync::Mutex<()>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    size: usize,
    in_use: usize,
}

/// A slot in use. Dropping it frees the slot.
#[derive(Debug)]
pub(super) struct Slot(Arc<Slots>);

impl Slots {
    pub(super) fn new(size: usize) -> Arc<Self> {
        let state = Mutex::new(State { size, in_use: 0 });
        Arc::new(Self { state, next: tokio::sync::Mutex::default(), changed: Notify::new() })
    }

    /// Waits for a slot. Cancel safe: a caller that leaves takes none.
    pub(super) async fn acquire(self: &Arc<Self>) -> Slot {
        let _next = self.next.lock().await;
        loop {
            if let Some(slot) = self.try_acquire() {
                return slot;
            }
            // Only one call waits here. A change before this line is remembered.
            self.changed.notified().await;
        }
    }

    fn try_acquire(self: &Arc<Self>) -> Option<Slot> {
        let mut state = lock(&self.state);
        let is_free = state.in_use < state.size;
        state.in_use += usize::from(is_free);
        is_free.then(|| Slot(Arc::clone(self)))
    }

    pub(super) fn in_use(&self) -> usize {
        lock(&self.state).in_use
    }

    /// Returns the number of slots in use if all are: how many calls end before all waiting ones have started.
    pub(super) fn in_use_if_full(&self) -> Option<usize> {
        let state = lock(&self.state);
        (state.in_use >= state.size).then_some(state.in_use)
    }

    /// Sets the number of slots. Slots in use stay in use.
    pub(super) fn resize(&self, size: usize) {
        lock(&self.state).size = size;
        self.changed.notify_one();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.0.state).in_use -= 1;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn try_now(slots: &Arc<Slots>) -> Option<Slot> {
        slots.acquire().now_or_never()
    }

    #[test]
    fn shrunken_slots_are_free_once_enough_calls_have_ended() {
        let slots = Slots::new(4);
        let mut in_use: Vec<_> = (0..4).map(|_| try_now(&slots).expect("a free slot")).collect();
        slots.resize(2);
        for _ in 0..2 {
            assert!(try_now(&slots).is_none());
            in_use.pop();
        }
        assert!(try_now(&slots).is_none(), "two of two slots are in use");
        in_use.pop();
        assert!(try_now(&slots).is_some());
    }

    #[tokio::test]
    async fn waiting_call_gets_a_slot_when_one_is_added_or_freed() {
        let slots = Slots::new(1);
        let first = slots.acquire().await;
        let wait = || {
            let slots = Arc::clone(&slots);
            tokio::spawn(async move { slots.acquire().await })
        };
        let (second, third) = (wait(), wait());
        tokio::task::yield_now().await;
        slots.resize(2);
        let second = second.await.expect("a slot");
        tokio::task::yield_now().await;
        assert!(!third.is_finished());
        drop(first);
        drop((second, third.await.expect("a slot")));
        assert_eq!(lock(&slots.state).in_use, 0);
    }

    #[tokio::test]
    async fn call_that_leaves_the_queue_takes_no_slot() {
        let slots = Slots::new(1);
        let first = slots.acquire().await;
        let leaving = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { drop(slots.acquire().await) }
        });
        let staying = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { drop(slots.acquire().await) }
        });
        tokio::task::yield_now().await;
        // The freed slot is announced to the call that leaves.
        drop(first);
        leaving.abort();
        staying.await.expect("a slot");
        assert_eq!(lock(&slots.state).in_use, 0);
    }
}
