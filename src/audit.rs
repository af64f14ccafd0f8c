//! Audit log: one line for every released credential, and lines about requests and peers that got none.
//!
//! The line of a release is written before the credential leaves the broker; if the write fails, nothing is released (P11). A
//! dedicated thread writes the queued lines in batches. If the sink blocks, such as a pipe without a reader, only the requests with a
//! queued record fail. A failed write is tried again with the next record, so that releases recover when the disk has space again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::sink::Sink;
use self::status::WriterStatus;
use self::writer::{About, Entry, Rejections};
use crate::caller::Caller;
use crate::clock::Clock;
use crate::metrics::Registry;

mod batch;
pub mod live;
mod output;
pub mod reader;
mod record;
mod reserve;
pub mod revocation;
mod sink;
mod status;
mod stored;
mod target;
mod template;
mod writer;

pub(crate) use self::batch::AuditBatch;
pub use self::output::Output;
pub use self::record::{Count, Outcome, Proof, Record, Time, Unauthenticated};
pub use self::status::AuditStatus;
pub use self::stored::StoredRecord;
#[allow(unused_imports, reason = "the fast path of cache hits uses it")]
pub(crate) use self::template::RecordTemplate;

/// Timeout of a write. After it the request fails. The line may still be written later: the log may show a release that was not
/// made, but it never lacks one.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// Capacity of the queue, in records.
const MAX_QUEUED: usize = 4096;
/// Rejections among the queued records. Further ones are only counted: a flood of them must not delay the records of releases.
const MAX_QUEUED_REJECTIONS: usize = 64;

/// Settings of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the lines go.
    pub output: Output,
    /// Free bytes of the file's filesystem that only releases may use.
    pub reserve: u64,
}

/// A record was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("audit record not written")]
pub struct Unwritten;

/// The audit log. A clone writes to the same output.
#[derive(Debug, Clone)]
pub struct AuditLog {
    queue: mpsc::Sender<Entry>,
    rejections: Arc<Semaphore>,
    writer: Arc<WriterStatus>,
    clock: Arc<dyn Clock>,
}

/// A record in the queue.
#[derive(Debug)]
pub(crate) struct Queued(Option<oneshot::Receiver<bool>>);

impl AuditLog {
    /// Opens the output and starts the thread that writes to it.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(settings: &Settings, clock: Arc<dyn Clock>) -> io::Result<Self> {
        Self::start(Sink::open(&settings.output)?, settings.reserve, clock)
    }

    fn start(sink: Sink, reserve: u64, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let (queue, entries) = mpsc::channel(MAX_QUEUED);
        let writer = Arc::<WriterStatus>::default();
        let status = Arc::clone(&writer);
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer::run(entries, sink, reserve, &status))?;
        Ok(Self { queue, rejections: Arc::new(Semaphore::new(MAX_QUEUED_REJECTIONS)), writer, clock })
    }

    /// Writes the record of a release to a caller, and returns once its line is in the output.
    ///
    /// # Errors
    /// The write failed or took too long, or the disk is nearly full and the caller has used its share of what is left.
    pub async fn write(&self, record: &Record<'_>, caller: &Caller) -> Result<(), Unwritten> {
        let (written, outcome) = oneshot::channel();
        let line = record::line(record, self.clock.now().wall).map_err(|_| Unwritten)?;
        let outcome = Queued(Some(outcome));
        match self.queue.try_send(Entry { line, written, about: About::Release(caller.clone()) }) {
            Ok(()) => {}
            // Boxed: the queue is seldom full. The places are given in the order of the requests, so that a flood of one caller's
            // releases delays the others, and does not refuse them.
            Err(mpsc::error::TrySendError::Full(entry)) => Box::pin(self.send(entry)).await?,
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Unwritten),
        }
        if outcome.written().await { Ok(()) } else { Err(Unwritten) }
    }

    /// Queues an entry once there is room for it.
    async fn send(&self, entry: Entry) -> Result<(), Unwritten> {
        self.queue.send_timeout(entry, WRITE_TIMEOUT).await.map_err(|_| Unwritten)
    }

    /// Returns an empty batch of records.
    pub(crate) fn batch(&self) -> AuditBatch {
        AuditBatch::new(self.clone())
    }

    /// Exposes the counts of records.
    pub fn register(&self, registry: &mut Registry) {
        Arc::clone(&self.writer).register(registry);
    }

    /// Returns the state of the log.
    #[must_use]
    pub fn status(&self) -> AuditStatus {
        self.writer.snapshot(MAX_QUEUED - self.queue.capacity())
    }

    /// Queues the record of a rejection. If too many are queued, or the write fails, `unwritten` counts it.
    pub(crate) fn queue_rejection(&self, record: &impl Serialize, unwritten: &Arc<AtomicU64>) -> Queued {
        let Ok(permit) = Arc::clone(&self.rejections).try_acquire_owned() else {
            unwritten.fetch_add(1, Ordering::Relaxed);
            self.writer.count_dropped(1);
            return Queued(None);
        };
        self.enqueue(record, Rejections { count: 1, unwritten: Arc::clone(unwritten), _permit: Some(permit) })
    }

    /// Queues one record about `count` rejections. If the write fails, `unwritten` counts them.
    pub(crate) fn queue_count(&self, count: &Count<'_>, unwritten: &Arc<AtomicU64>) -> Queued {
        let rejections = Rejections { count: count.count, unwritten: Arc::clone(unwritten), _permit: None };
        self.enqueue(count, rejections)
    }

    /// Waits until no record of a rejection is queued, so that none is lost at the shutdown.
    pub(crate) async fn settle(&self) {
        let all = u32::try_from(MAX_QUEUED_REJECTIONS).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(WRITE_TIMEOUT, self.rejections.acquire_many(all)).await;
    }

    fn enqueue(&self, record: &impl Serialize, rejections: Rejections) -> Queued {
        let (written, outcome) = oneshot::channel();
        let Ok(line) = record::line(record, self.clock.now().wall) else { return Queued(None) };
        match self.queue.try_send(Entry { line, written, about: About::Rejections(rejections) }) {
            Ok(()) => Queued(Some(outcome)),
            Err(mpsc::error::TrySendError::Full(entry) | mpsc::error::TrySendError::Closed(entry)) => {
                entry.finish(false);
                self.writer.count_dropped(1);
                Queued(None)
            }
        }
    }
}

impl Queued {
    /// Returns whether the record was written, once that is known.
    pub(crate) async fn written(self) -> bool {
        let Some(outcome) = self.0 else { return false };
        matches!(tokio::time::timeout(WRITE_TIMEOUT, outcome).await, Ok(Ok(true)))
    }
}

#[cfg(test)]
pub(crate) mod test_disk;
#[cfg(test)]
mod tests;
