//! Records of releases that are written together: those of one connection, once per poll.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;

use super::writer::Entry;
use super::{AuditLog, Queued, WRITE_TIMEOUT};
use crate::caller::Caller;
use crate::sync::lock;

/// Records for which a batch keeps its memory.
const KEPT_ENTRIES: usize = 128;

/// Records that wait for the next [`AuditBatch::commit`]. A clone is a handle of the same batch.
///
/// It is as large as the number of releases that wait for their records: at most the streams of its connection.
#[derive(Debug, Clone)]
pub(crate) struct AuditBatch {
    log: AuditLog,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Whether records wait for others.
    is_collecting: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    added: Vec<Entry>,
    /// Committed records for which the queue had no room.
    waiting: VecDeque<Entry>,
    /// Whether a task queues the waiting ones. Further records must wait behind them.
    is_waiting: bool,
}

impl AuditBatch {
    pub(super) fn new(log: AuditLog) -> Self {
        Self { log, shared: Arc::default() }
    }

    /// Sets whether the next records are collected for one write, which the driver of the connection makes. Else what adds a record
    /// commits it.
    pub(crate) fn collect(&self, is_collecting: bool) {
        self.shared.is_collecting.store(is_collecting, Ordering::Relaxed);
    }

    /// Returns whether records are collected.
    pub(crate) fn is_collecting(&self) -> bool {
        self.shared.is_collecting.load(Ordering::Relaxed)
    }

    /// Adds the line of a release to a caller, with its newline. The release must wait for the result.
    pub(crate) fn add(&self, line: Vec<u8>, caller: Caller) -> Queued {
        let (entry, queued) = self.log.release(line, caller);
        lock(&self.shared.state).added.push(entry);
        queued
    }

    /// Writes the added lines in one write, or queues them if another task or the thread writes. In a full queue they wait for room as
    /// single records do. Returns whether there was one to write.
    pub(crate) fn commit(&self) -> bool {
        let mut entries = {
            let state = &mut *lock(&self.shared.state);
            // A stalled log releases without a wait, so nothing would bound what waits here.
            if state.is_waiting && !self.log.is_stalled() {
                state.waiting.extend(state.added.drain(..));
            }
            std::mem::take(&mut state.added)
        };
        if entries.is_empty() {
            return false;
        }
        self.log.turns().submit(&mut entries);
        if entries.is_empty() {
            self.keep_memory(entries);
        } else if self.log.is_stalled() {
            for entry in entries {
                entry.finish(false);
            }
        } else {
            self.wait_for_room(entries);
        }
        true
    }

    fn keep_memory(&self, mut emptied: Vec<Entry>) {
        emptied.shrink_to(KEPT_ENTRIES);
        let state = &mut *lock(&self.shared.state);
        if state.added.is_empty() {
            state.added = emptied;
        }
    }

    fn wait_for_room(&self, entries: Vec<Entry>) {
        let Ok(runtime) = Handle::try_current() else {
            return entries.into_iter().for_each(|entry| entry.finish(false));
        };
        let state = &mut *lock(&self.shared.state);
        state.waiting.extend(entries);
        if !std::mem::replace(&mut state.is_waiting, true) {
            drop(runtime.spawn(self.clone().queue_waiting()));
        }
    }

    /// Queues the waiting records in their order. One whose caller has given up is dropped, so that none waits longer than a caller. A
    /// log that releases without records may have released it.
    async fn queue_waiting(self) {
        let status = &self.log.turns().status;
        while let Some(entry) = self.next_waiting() {
            if entry.written.is_closed() && !status.releases {
                continue;
            }
            if let Err(entry) = self.log.turns().submit_within(WRITE_TIMEOUT, entry).await {
                if entry.written.is_closed() && status.releases {
                    status.count_lost();
                }
                entry.finish(false);
            }
        }
    }

    fn next_waiting(&self) -> Option<Entry> {
        let state = &mut *lock(&self.shared.state);
        let next = state.waiting.pop_front();
        state.is_waiting = next.is_some();
        next
    }
}
