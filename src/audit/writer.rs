//! The thread that writes audit records.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tracing::{error, info, warn};

use super::sink::Sink;
use super::status::WriterStatus;

/// Maximum number of records in one write.
const MAX_BATCH: usize = 256;

/// A queued record.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) line: Vec<u8>,
    /// Receives whether the line was written.
    pub(super) written: oneshot::Sender<bool>,
    /// What a record is about that no release waits for.
    pub(super) rejections: Option<Rejections>,
}

/// The rejections that one record stands for.
#[derive(Debug)]
pub(super) struct Rejections {
    pub(super) count: u64,
    /// Counts rejections without a record.
    pub(super) unwritten: Arc<AtomicU64>,
    /// Permit of a queued record. It is freed after the write, even if the request ends earlier.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

impl Entry {
    /// Tells whether the line was written. The request may have ended.
    pub(super) fn finish(self, written: bool) {
        if let Some(rejections) = self.rejections.filter(|_| !written) {
            rejections.unwritten.fetch_add(rejections.count, Ordering::Relaxed);
        }
        let _ = self.written.send(written);
    }
}

/// Writes records until every handle of the log is dropped. Rejections are only counted while less than `reserve` bytes are free.
pub(super) fn run(mut queue: mpsc::Receiver<Entry>, sink: Sink, reserve: u64, status: &WriterStatus) {
    let mut writer = Writer { sink, reserve, failing: false, below_reserve: false };
    let mut entries = Vec::new();
    while queue.blocking_recv_many(&mut entries, MAX_BATCH) > 0 {
        let withheld = |entry: &mut Entry| entry.rejections.is_some();
        if entries.iter().any(|entry| entry.rejections.is_some()) && writer.is_below_reserve() {
            entries.extract_if(.., withheld).for_each(|entry| entry.finish(false));
        }
        status.is_below_reserve.store(writer.below_reserve, Ordering::Relaxed);
        let written = entries.is_empty() || writer.write(&entries).is_ok();
        if !entries.is_empty() {
            status.record(entries.len(), written);
        }
        entries.drain(..).for_each(|entry| entry.finish(written));
    }
}

struct Writer {
    sink: Sink,
    /// Free bytes that only releases may use.
    reserve: u64,
    /// Whether the last write failed.
    failing: bool,
    /// Whether less than the reserve was free.
    below_reserve: bool,
}

impl Writer {
    fn write(&mut self, entries: &[Entry]) -> io::Result<()> {
        let lines: Vec<_> = entries.iter().map(|entry| entry.line.as_slice()).collect();
        let result = self.sink.write(&lines.concat());
        match &result {
            Err(error) if !self.failing => error!(%error, "audit log write failed; no credential is released"),
            Ok(()) if self.failing => info!("audit log write recovered"),
            _ => {}
        }
        self.failing = result.is_err();
        result
    }

    /// Reads the free space. Only rejections need it: a release must not wait for it.
    fn is_below_reserve(&mut self) -> bool {
        let free = self.sink.free().unwrap_or(u64::MAX);
        let (below, before) = (free < self.reserve, self.below_reserve);
        self.below_reserve = below;
        match (before, below) {
            (false, true) => warn!(free, reserve = self.reserve, "audit reserve reached; denials are only counted"),
            (true, false) => info!(free, reserve = self.reserve, "audit reserve recovered"),
            _ => {}
        }
        below
    }
}
