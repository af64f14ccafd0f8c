//! Audit log: one line for every released credential and for every denied request.
//!
//! The line of a release is written before the credential leaves the broker; if the write fails, nothing is released (P11). A
//! dedicated thread writes the queued lines in batches. If the sink blocks, such as a pipe without a reader, only the requests with a
//! queued record fail.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use self::sink::Sink;
use self::writer::Entry;
use crate::clock::Clock;

mod record;
mod sink;
mod writer;

pub use self::record::{Outcome, Record};
pub use self::sink::Output;

/// Timeout of a write. After it the request fails. The line may still be written later: the log may show a release that was not
/// made, but it never lacks one.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// Capacity of the queue, in records.
const MAX_QUEUED: usize = 4096;
/// Denials among the queued records. Further denials are only counted: a flood of them must not delay the records of releases.
const MAX_QUEUED_DENIALS: usize = 64;

/// A record was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("audit record not written")]
pub struct Unwritten;

/// The audit log. A clone writes to the same output.
#[derive(Debug, Clone)]
pub struct AuditLog {
    queue: mpsc::Sender<Entry>,
    denials: Arc<Semaphore>,
    unwritten_denials: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
}

impl AuditLog {
    /// Opens the output and starts the thread that writes to it.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(output: &Output, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let sink = Sink::open(output)?;
        let (queue, entries) = mpsc::channel(MAX_QUEUED);
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer::run(entries, sink))?;
        let denials = Arc::new(Semaphore::new(MAX_QUEUED_DENIALS));
        Ok(Self { queue, denials, unwritten_denials: Arc::default(), clock })
    }

    /// Writes the record of a denial. If too many denials are queued, only counts it; the next record contains the count. A failed write
    /// does not change the decision.
    pub async fn write_denial(&self, record: &Record<'_>) {
        match Arc::clone(&self.denials).try_acquire_owned() {
            Ok(permit) => _ = self.enqueue(Some(permit), record).await,
            Err(_) => _ = self.unwritten_denials.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Writes a record, and returns once its line is in the output.
    ///
    /// # Errors
    /// The queue is full, the write failed, or it took too long.
    pub async fn write(&self, record: &Record<'_>) -> Result<(), Unwritten> {
        self.enqueue(None, record).await
    }

    async fn enqueue(&self, permit: Option<OwnedSemaphorePermit>, record: &Record<'_>) -> Result<(), Unwritten> {
        let denials_before = self.unwritten_denials.swap(0, Ordering::Relaxed);
        let line = record.line(self.clock.now().wall, denials_before).map_err(|_| Unwritten)?;
        let (written, outcome) = oneshot::channel();
        let queued = self.queue.try_send(Entry { line, written, _permit: permit });
        if queued.is_ok() && matches!(tokio::time::timeout(WRITE_TIMEOUT, outcome).await, Ok(Ok(true))) {
            return Ok(());
        }
        self.unwritten_denials.fetch_add(denials_before, Ordering::Relaxed);
        Err(Unwritten)
    }
}
