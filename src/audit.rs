//! Audit log: one line for every released credential, and lines about requests and peers that got none.
//!
//! The line of a release is written before the credential leaves the broker; if the write fails, nothing is released (P11). The task
//! that has a record writes it, with all that others have queued meanwhile; there is one writer at a time. After a slow write, and on
//! outputs that are not regular files, a thread writes instead. So a disk that hangs blocks one worker at most, and only requests
//! with a record fail. A failed write is tried again with the next record, so that releases recover when the disk has space again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use self::guard::Guard;
use self::sink::Sink;
use self::status::WriterStatus;
use self::turns::Turns;
use self::writer::{About, Entry, Rejections, Writer};
use crate::caller::Caller;
use crate::clock::Clock;
use crate::metrics::Registry;

mod backlog;
mod batch;
mod guard;
pub mod index;
mod lifo_slot;
pub mod live;
mod output;
mod pace;
mod queue;
pub mod reader;
mod record;
mod reserve;
pub mod revocation;
mod settings;
mod sink;
mod status;
mod stored;
mod target;
mod template;
mod turns;
mod writer;

pub(crate) use self::batch::AuditBatch;
pub use self::output::Output;
pub use self::record::{Count, Outcome, Proof, Record, Time, Unauthenticated};
pub use self::settings::{OnFailure, Settings};
pub use self::status::AuditStatus;
pub use self::stored::StoredRecord;
pub(crate) use self::template::RecordTemplate;

/// Timeout of a write. After it the request fails. The line may still be written later: the log may show a release that was not
/// made, but it never lacks one.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// Rejections among the queued records. Further ones are only counted: a flood of them must not delay the records of releases.
const MAX_QUEUED_REJECTIONS: usize = 64;

/// A record was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("audit record not written")]
pub struct Unwritten;

/// The audit log. A clone writes to the same output.
#[derive(Debug, Clone)]
pub struct AuditLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    turns: Arc<Turns>,
    rejections: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
}

/// A record in the queue, or its result.
#[derive(Debug)]
pub(crate) enum Queued {
    /// Receives whether the record was written. The state: of a log that releases without records.
    Waiting(oneshot::Receiver<bool>, Option<Arc<WriterStatus>>),
    /// Whether it was written.
    Known(bool),
}

impl AuditLog {
    /// Opens the output and starts the thread for slow ones. Tasks write only if this runs in a runtime with two workers or more.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(settings: &Settings, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let sink = Sink::open(&settings.output)?;
        Self::start(sink, (settings.reserve, settings.on_failure), clock)
    }

    fn start(sink: Sink, limits: (u64, OnFailure), clock: Arc<dyn Clock>) -> io::Result<Self> {
        let status = Arc::new(WriterStatus::new(limits.1));
        let writer = Writer::new(sink, limits, Arc::clone(&clock));
        let runtime = Handle::try_current().ok().filter(|_| writer.is_direct());
        let guard = runtime.map(Guard::start).transpose()?;
        let turns = Arc::new(Turns::new(writer, status).watched_by(guard));
        let of_thread = Arc::clone(&turns);
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || of_thread.run_thread())?;
        Ok(Self(Arc::new(Inner { turns, rejections: Arc::new(Semaphore::new(MAX_QUEUED_REJECTIONS)), clock })))
    }

    /// Writes the record of a release to a caller, and returns once its line is in the output. With `on_failure = "release"` it also
    /// returns once the line waits for the log to work again.
    ///
    /// # Errors
    /// The write failed or took too long, or the disk is nearly full and the caller has used its share of what is left.
    pub async fn write(&self, record: &Record<'_>, caller: &Caller) -> Result<(), Unwritten> {
        let line = record::line(record, self.0.clock.now().wall).map_err(|_| Unwritten)?;
        let (entry, outcome) = self.release(line, caller.clone());
        if let Some(entry) = self.submit(entry) {
            // Boxed: the queue is seldom full.
            return Box::pin(self.write_with_room(entry, outcome)).await;
        }
        if outcome.written().await { Ok(()) } else { Err(Unwritten) }
    }

    /// Returns the record of a release, and its result.
    fn release(&self, line: Vec<u8>, caller: Caller) -> (Entry, Queued) {
        let status = &self.turns().status;
        Entry::new(line, About::Release(caller), status.releases.then(|| Arc::clone(status)))
    }

    /// Writes a record for which the queue had no room. The places are given in the order of the requests, so that a flood of one
    /// caller's releases delays the others, and does not refuse them. Both waits together have the time of one write.
    async fn write_with_room(&self, entry: Entry, outcome: Queued) -> Result<(), Unwritten> {
        let status = &self.turns().status;
        let written = async {
            if self.is_stalled() {
                return Err(Unwritten);
            }
            self.turns().submit_within(WRITE_TIMEOUT, entry).await.map_err(|_| Unwritten)?;
            if outcome.written().await { Ok(()) } else { Err(Unwritten) }
        };
        let result = tokio::time::timeout(WRITE_TIMEOUT, written).await.unwrap_or(Err(Unwritten));
        if result.is_err() && status.releases {
            status.note_stall();
            status.count_lost();
            return Ok(());
        }
        result
    }

    /// Returns an empty batch of records.
    pub(crate) fn batch(&self) -> AuditBatch {
        AuditBatch::new(self.clone())
    }

    /// Returns whether the record of a release will be written, as far as is known: the last write succeeded, and the disk has room for
    /// all callers.
    pub(crate) fn is_well(&self) -> bool {
        self.turns().status.is_well()
    }

    /// Returns whether the task that has a record will write it.
    #[cfg(test)]
    fn writes_at_once(&self) -> bool {
        self.turns().is_direct() && self.is_well()
    }

    /// Returns whether a write hangs while credentials are released without records.
    fn is_stalled(&self) -> bool {
        self.turns().status.is_stalled.load(Ordering::Relaxed)
    }

    fn turns(&self) -> &Turns {
        &self.0.turns
    }

    /// Writes or queues a record. Returns it if the queue is full.
    fn submit(&self, entry: Entry) -> Option<Entry> {
        let mut entries = vec![entry];
        self.turns().submit(&mut entries);
        entries.pop()
    }

    /// Exposes the counts of records.
    pub fn register(&self, registry: &mut Registry) {
        Arc::clone(&self.turns().status).register(registry);
    }

    /// Returns the state of the log.
    #[must_use]
    pub fn status(&self) -> AuditStatus {
        self.turns().status.snapshot(self.turns().queue.len())
    }

    /// Queues the record of a rejection. If too many are queued, or the write fails, `unwritten` counts it.
    pub(crate) fn queue_rejection(&self, record: &impl Serialize, unwritten: &Arc<AtomicU64>) -> Queued {
        let Ok(permit) = Arc::clone(&self.0.rejections).try_acquire_owned() else {
            unwritten.fetch_add(1, Ordering::Relaxed);
            self.turns().status.count_dropped(1);
            return Queued::Known(false);
        };
        self.enqueue(record, Rejections { count: 1, unwritten: Arc::clone(unwritten), _permit: Some(permit) })
    }

    /// Queues one record about `count` rejections. If the write fails, `unwritten` counts them.
    pub(crate) fn queue_count(&self, count: &Count<'_>, unwritten: &Arc<AtomicU64>) -> Queued {
        let rejections = Rejections { count: count.count, unwritten: Arc::clone(unwritten), _permit: None };
        self.enqueue(count, rejections)
    }

    /// Waits until no record of a rejection is queued, so that none is lost at the shutdown, and writes the records of releases that
    /// were made without one.
    pub(crate) async fn settle(&self) {
        let all = u32::try_from(MAX_QUEUED_REJECTIONS).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(WRITE_TIMEOUT, self.0.rejections.acquire_many(all)).await;
        if self.turns().has_waiting() {
            let (turns, (done, finished)) = (Arc::clone(&self.0.turns), oneshot::channel());
            // A thread of the runtime would hold up the shutdown if the write hangs.
            std::thread::spawn(move || {
                turns.finish();
                done.send(())
            });
            let _ = tokio::time::timeout(WRITE_TIMEOUT, finished).await;
        }
    }

    fn enqueue(&self, record: &impl Serialize, rejections: Rejections) -> Queued {
        let Ok(line) = record::line(record, self.0.clock.now().wall) else { return Queued::Known(false) };
        let (entry, queued) = Entry::new(line, About::Rejections(rejections), None);
        if let Some(entry) = self.submit(entry) {
            entry.finish(false);
            self.turns().status.count_dropped(1);
        }
        queued
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.turns.queue.close();
    }
}

impl Entry {
    /// Returns a record that must be written, and its result.
    fn new(line: Vec<u8>, about: About, releases: Option<Arc<WriterStatus>>) -> (Self, Queued) {
        let (written, outcome) = oneshot::channel();
        (Self { line, written, about }, Queued::Waiting(outcome, releases))
    }
}

impl Queued {
    /// Returns whether the record was written, once that is known.
    pub(crate) async fn written(mut self) -> bool {
        self.try_written();
        match self {
            Self::Known(is_written) => is_written,
            Self::Waiting(_, Some(status)) if status.is_stalled.load(Ordering::Relaxed) => {
                status.count_unrecorded();
                true
            }
            Self::Waiting(outcome, releases) => match tokio::time::timeout(WRITE_TIMEOUT, outcome).await {
                Ok(result) => is_released(result.unwrap_or(false), releases.as_deref()),
                Err(_) => releases.is_some_and(|status| {
                    status.note_stall();
                    status.count_unrecorded();
                    true
                }),
            },
        }
    }

    /// Returns whether the record was written; `None`: that is not known yet. It wakes no task later, as [`Queued::written`] does.
    pub(crate) fn try_written(&mut self) -> Option<bool> {
        if let Self::Waiting(outcome, releases) = self {
            match outcome.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return None,
                result => *self = Self::Known(is_released(result.unwrap_or(false), releases.as_deref())),
            }
        }
        matches!(self, Self::Known(true)).into()
    }
}

/// Returns whether a credential may be released after a write. `releases`: the state of a log that releases without records.
fn is_released(is_written: bool, releases: Option<&WriterStatus>) -> bool {
    if let (false, Some(status)) = (is_written, releases) {
        status.count_lost();
    }
    is_written || releases.is_some()
}

#[cfg(test)]
pub(crate) mod test_disk;
#[cfg(test)]
mod tests;
