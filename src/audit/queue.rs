//! Records that wait for a writer, up to a limit.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::writer::Entry;
use crate::sync::lock;

/// Capacity of the queue, in records.
pub(super) const MAX_QUEUED: usize = 4096;

/// Why the thread wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// It must write what is queued.
    Queued,
    /// The time of its wait is over.
    Retry,
    /// The queue is closed and empty.
    Closed,
}

/// What the thread waits for. If it does not wait, a call needs no system call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Wait {
    #[default]
    Nothing,
    Call,
    /// A call, or the time of the next try to write what waits for the log to work again.
    Retry,
}

/// The queue. Its order is that of the requests.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes the thread of the log.
    called: Condvar,
    /// Free places. They are given in the order of the requests.
    room: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    /// Whether the thread must write what is queued.
    is_called: bool,
    wait: Wait,
    /// Whether the last handle of the log was dropped.
    is_closed: bool,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), called: Condvar::new(), room: Semaphore::new(MAX_QUEUED) }
    }

    /// Queues the first records, as many as there is room for. The others stay in `entries`.
    pub(super) fn push(&self, entries: &mut Vec<Entry>) {
        let mut places = 0;
        while places < entries.len()
            && let Ok(permit) = self.room.try_acquire()
        {
            permit.forget();
            places += 1;
        }
        lock(&self.state).entries.extend(entries.drain(..places));
    }

    /// Queues a record once there is room for it, or returns it after `timeout`.
    pub(super) async fn push_within(&self, timeout: Duration, entry: Entry) -> Result<(), Entry> {
        let Ok(Ok(permit)) = tokio::time::timeout(timeout, self.room.acquire()).await else { return Err(entry) };
        permit.forget();
        lock(&self.state).entries.push_back(entry);
        Ok(())
    }

    /// Takes out the first records, `max` at most, and puts them before others.
    pub(super) fn take_before(&self, others: &mut Vec<Entry>, max: usize) {
        let taken = {
            let queued = &mut lock(&self.state).entries;
            let count = queued.len().min(max);
            if count == 0 {
                return;
            }
            others.splice(..0, queued.drain(..count));
            count
        };
        self.room.add_permits(taken);
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.state).entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether the queue is full.
    #[cfg(test)]
    pub(super) fn is_full(&self) -> bool {
        self.room.available_permits() == 0
    }

    /// Makes the thread write what is queued.
    pub(super) fn call_thread(&self) {
        let is_waiting = {
            let state = &mut *lock(&self.state);
            state.is_called = true;
            std::mem::take(&mut state.wait) != Wait::Nothing
        };
        if is_waiting {
            self.called.notify_one();
        }
    }

    /// Ends the thread, once it has written what is queued.
    pub(super) fn close(&self) {
        lock(&self.state).is_closed = true;
        self.called.notify_one();
    }

    /// Makes the thread wake by itself from now on, as its next wait has it.
    pub(super) fn call_for_retries(&self) {
        if lock(&self.state).wait != Wait::Retry {
            self.call_thread();
        }
    }

    /// Blocks the thread until it is called, or for `retry`.
    pub(super) fn wait_for_call(&self, retry: Option<Duration>) -> Call {
        let mut state = lock(&self.state);
        let mut is_over = false;
        while !state.is_called && !state.is_closed && !is_over {
            state.wait = if retry.is_some() { Wait::Retry } else { Wait::Call };
            (state, is_over) = match retry {
                None => (self.called.wait(state).unwrap_or_else(PoisonError::into_inner), false),
                Some(retry) => {
                    let waited = self.called.wait_timeout(state, retry);
                    let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    (state, timeout.timed_out())
                }
            };
        }
        let is_called = std::mem::take(&mut state.is_called);
        state.wait = Wait::Nothing;
        match (state.is_closed && state.entries.is_empty(), is_called || state.is_closed) {
            (true, _) => Call::Closed,
            (false, true) => Call::Queued,
            (false, false) => Call::Retry,
        }
    }
}
