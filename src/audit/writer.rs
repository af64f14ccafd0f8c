//! What writes audit records.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::{error, info};

use super::pace::Pace;
use super::reserve::Reserve;
use super::sink::Sink;
use super::status::WriterStatus;
use crate::caller::Caller;
use crate::clock::Clock;

/// Time after which a rotation and the free space are looked for again. Each takes a system call.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// A record that must be written.
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

/// The result of one write.
#[derive(Debug)]
pub(super) struct Written {
    is_written: bool,
    /// Records that were not passed to the output.
    withheld: Vec<Entry>,
}

impl Written {
    /// Tells what became of each record. The others are those that were passed to the output.
    pub(super) fn finish(self, others: &mut Vec<Entry>) {
        self.withheld.into_iter().for_each(|entry| entry.finish(false));
        others.drain(..).for_each(|entry| entry.finish(self.is_written));
    }
}

/// Writes records. While less than the reserve is free, rejections are only counted, and no caller may use all of what is left.
#[derive(Debug)]
pub(super) struct Writer {
    sink: Sink,
    reserve: Reserve,
    pace: Pace,
    clock: Arc<dyn Clock>,
    /// Whether the last write failed.
    failing: bool,
    /// When a rotation and the free space are looked for again, on the monotonic clock; `None`: with the next write.
    next_check: Option<Duration>,
}

impl Writer {
    pub(super) fn new(sink: Sink, reserve: u64, clock: Arc<dyn Clock>) -> Self {
        let pace = Pace::new(sink.is_regular_file());
        Self { sink, reserve: Reserve::new(reserve), pace, clock, failing: false, next_check: None }
    }

    /// Returns whether tasks may write, because the output is quick.
    pub(super) fn is_direct(&self) -> bool {
        self.pace.is_direct()
    }

    /// Writes records in one write. Takes out those that are not passed to the output.
    pub(super) fn write(&mut self, entries: &mut Vec<Entry>, status: &WriterStatus) -> Written {
        let start = self.clock.steady();
        let checked = self.check(start);
        let withheld = self.withhold(entries);
        status.count_dropped(withheld.len());
        let is_written = entries.is_empty() || self.write_lines(checked, entries);
        if !entries.is_empty() {
            status.record(entries.len(), is_written);
        }
        status.is_below_reserve.store(self.reserve.is_reached(), Ordering::Relaxed);
        let end = self.clock.steady();
        self.pace.note(end.saturating_sub(start), end);
        Written { is_written, withheld }
    }

    /// Follows a rotation and reads the free space, if the last time is a while ago, or something is wrong.
    fn check(&mut self, now: Duration) -> io::Result<()> {
        let is_due = self.next_check.is_none_or(|next| now >= next);
        if !(is_due || self.failing || self.reserve.is_reached()) {
            return Ok(());
        }
        let followed = self.sink.follow();
        self.reserve.note_free(self.sink.free());
        self.next_check = followed.is_ok().then_some(now + CHECK_INTERVAL);
        followed
    }

    fn write_lines(&mut self, checked: io::Result<()>, entries: &[Entry]) -> bool {
        let result = checked.and_then(|()| self.sink.write(entries.iter().map(|entry| entry.line.as_slice())));
        match &result {
            Err(error) if !self.failing => error!(%error, "audit log write failed; no credential is released"),
            Ok(()) if self.failing => info!("audit log write recovered"),
            _ => {}
        }
        self.failing = result.is_err();
        if !self.failing {
            self.reserve.note_written(entries.iter().map(|entry| entry.line.len() as u64).sum());
        }
        !self.failing
    }

    /// Takes out the records that must leave room for others.
    fn withhold(&mut self, entries: &mut Vec<Entry>) -> Vec<Entry> {
        if !self.reserve.is_reached() {
            return Vec::new();
        }
        entries.extract_if(.., |entry| !self.admits(entry)).collect()
    }

    fn admits(&mut self, entry: &Entry) -> bool {
        match &entry.about {
            About::Release(caller) => self.reserve.admit(caller, entry.line.len() as u64),
            About::Rejections(_) => !self.reserve.is_reached(),
        }
    }
}
