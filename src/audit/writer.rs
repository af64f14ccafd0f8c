//! The thread that writes audit records.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tracing::{error, info};

use super::reserve::Reserve;
use super::sink::Sink;
use super::status::WriterStatus;
use crate::caller::Caller;

/// Maximum number of records in one write.
const MAX_BATCH: usize = 256;

/// A queued record.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) line: Vec<u8>,
    /// Receives whether the line was written.
    pub(super) written: oneshot::Sender<bool>,
    pub(super) about: About,
}

/// What a record is about.
#[derive(Debug)]
pub(super) enum About {
    /// The release of a credential to a caller, which waits for the record.
    Release(Caller),
    /// Rejections. No release waits for them.
    Rejections(Rejections),
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
        if let (About::Rejections(rejections), false) = (self.about, written) {
            rejections.unwritten.fetch_add(rejections.count, Ordering::Relaxed);
        }
        let _ = self.written.send(written);
    }
}

/// Writes records until every handle of the log is dropped. While less than `reserve` bytes are free, rejections are only counted,
/// and no caller may use all of what is left.
pub(super) fn run(mut queue: mpsc::Receiver<Entry>, sink: Sink, reserve: u64, status: &WriterStatus) {
    let mut writer = Writer { sink, reserve: Reserve::new(reserve), failing: false };
    let mut entries = Vec::new();
    while queue.blocking_recv_many(&mut entries, MAX_BATCH) > 0 {
        writer.reserve.note_free(writer.sink.free());
        let withheld = entries.extract_if(.., |entry| !writer.admits(entry)).map(|entry| entry.finish(false));
        status.count_dropped(withheld.count());
        status.is_below_reserve.store(writer.reserve.is_reached(), Ordering::Relaxed);
        let written = entries.is_empty() || writer.write(&entries).is_ok();
        if !entries.is_empty() {
            status.record(entries.len(), written);
        }
        entries.drain(..).for_each(|entry| entry.finish(written));
    }
}

struct Writer {
    sink: Sink,
    reserve: Reserve,
    /// Whether the last write failed.
    failing: bool,
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

    fn admits(&mut self, entry: &Entry) -> bool {
        match &entry.about {
            About::Release(caller) => self.reserve.admit(caller, entry.line.len() as u64),
            About::Rejections(_) => !self.reserve.is_reached(),
        }
    }
}
