//! One writer at a time: a task that has records writes everything that is queued, or leaves its records to the one that writes.
//!
//! No record is lost between them. A task queues its records before it finds the writer locked, and looks into the queue after it has
//! unlocked the writer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use tracing::error;

use super::guard::Guard;
use super::lifo_slot;
use super::queue::{Call, Queue};
use super::status::WriterStatus;
use super::writer::{Entry, Writer};
use crate::sync::lock;

/// Maximum number of queued records in one write.
const MAX_BATCH: usize = 256;
/// Writes of one task in a row for others. Then the thread writes what is queued.
const MAX_WRITES: usize = 4;

/// Time between two tries to write the records of releases that were made without one.
const RETRY: Duration = Duration::from_secs(1);

/// The writer, and what waits for it.
#[derive(Debug)]
pub(super) struct Turns {
    pub(super) queue: Queue,
    pub(super) status: Arc<WriterStatus>,
    writer: Mutex<Writer>,
    /// Whether tasks may write. Changed only while the writer is locked.
    is_direct: AtomicBool,
    /// Watches the writes of tasks; `None` where only the thread writes.
    guard: Option<Guard>,
}

impl Turns {
    pub(super) fn new(writer: Writer, status: Arc<WriterStatus>) -> Self {
        let is_direct = AtomicBool::new(writer.is_direct());
        Self { queue: Queue::new(), status, writer: Mutex::new(writer), is_direct, guard: None }
    }

    /// Has `guard` watch the writes of tasks.
    pub(super) fn watched_by(self, guard: Option<Guard>) -> Self {
        Self { guard, ..self }
    }

    /// Returns whether tasks write, and not the thread.
    pub(super) fn is_direct(&self) -> bool {
        self.is_direct.load(Ordering::Relaxed)
    }

    /// Writes records, or queues them. Those for which the queue has no room stay in `entries`.
    pub(super) fn submit(&self, entries: &mut Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        if self.is_direct()
            && let Some(writer) = self.try_writer()
            && self.is_direct()
        {
            self.write_as_task(writer, entries);
            if self.queue.is_empty() {
                return;
            }
        } else {
            self.queue.push(entries);
        }
        self.write_queued();
    }

    /// Queues a record once there is room for it, or returns it after `timeout`.
    pub(super) async fn submit_within(&self, timeout: Duration, entry: Entry) -> Result<(), Entry> {
        self.queue.push_within(timeout, entry).await?;
        self.write_queued();
        Ok(())
    }

    /// Writes what is queued whenever the thread is called, until the log is closed.
    pub(super) fn run_thread(&self) {
        loop {
            let call = self.queue.wait_for_call(self.has_waiting().then_some(RETRY));
            self.write_whole_queue();
            // A task that writes tries it, too. While the log fails, the thread tries it once a second.
            if call == Call::Retry || !self.status.is_failing.load(Ordering::Relaxed) {
                while self.write_waiting() {
                    self.write_whole_queue();
                }
            }
            if call == Call::Closed {
                return;
            }
        }
    }

    /// Writes the records of releases that were made without one, for the last time.
    pub(super) fn finish(&self) {
        let mut writer = lock(&self.writer);
        while writer.write_waiting(&self.status) {}
        let lost = writer.waiting();
        drop(writer);
        // A task may have found the writer locked.
        self.queue.call_thread();
        if lost > 0 {
            error!(lost, "audit records of releases lost at the stop");
        }
    }

    /// Returns whether records of releases wait for the log to work again.
    pub(super) fn has_waiting(&self) -> bool {
        self.status.buffered.load(Ordering::Relaxed) > 0
    }

    fn write_whole_queue(&self) {
        while !self.queue.is_empty() {
            self.write(lock(&self.writer), &mut Vec::new());
        }
    }

    /// Writes some records of releases that were made without one. Returns whether there are more that can be written.
    fn write_waiting(&self) -> bool {
        let has_more = self.has_waiting() && lock(&self.writer).write_waiting(&self.status);
        // A task may have found the writer locked.
        has_more || !self.queue.is_empty()
    }

    /// Writes what is queued, or calls the thread. If another one writes, that one finds it in the queue.
    fn write_queued(&self) {
        for _ in 0..MAX_WRITES {
            if !self.is_direct() {
                break;
            }
            let Some(writer) = self.try_writer() else { return };
            // The last write may have been a slow one.
            if !self.is_direct() {
                break;
            }
            self.write_as_task(writer, &mut Vec::new());
            if self.queue.is_empty() {
                return;
            }
        }
        self.queue.call_thread();
    }

    /// Writes on a worker of the runtime, which may hang in the write.
    fn write_as_task(&self, writer: MutexGuard<'_, Writer>, entries: &mut Vec<Entry>) {
        lifo_slot::clear();
        let _writing = self.guard.as_ref().map(Guard::begin);
        self.write(writer, entries);
    }

    /// Writes `entries` behind the first queued records, and leaves it empty. The caller must look into the queue afterwards.
    fn write(&self, mut writer: MutexGuard<'_, Writer>, entries: &mut Vec<Entry>) {
        self.queue.take_before(entries, MAX_BATCH);
        if entries.is_empty() {
            return;
        }
        let written = writer.write(entries, &self.status);
        self.is_direct.store(writer.is_direct(), Ordering::Relaxed);
        drop(writer);
        written.finish(entries);
        if self.has_waiting() {
            self.queue.call_for_retries();
        }
    }

    fn try_writer(&self) -> Option<MutexGuard<'_, Writer>> {
        match self.writer.try_lock() {
            Ok(writer) => Some(writer),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}
