//! What writes audit records.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::{error, info, warn};

use super::backlog::Backlog;
use super::pace::Pace;
use super::reserve::Reserve;
use super::settings::OnFailure;
use super::sink::Sink;
use super::status::WriterStatus;
use crate::caller::Caller;
use crate::clock::Clock;
use crate::log_throttle::LogThrottle;

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
    succeeded: bool,
    /// Records that were not passed to the output.
    withheld: Vec<Entry>,
    /// Records of releases that wait for the log to work again, or that are lost. The releases are made.
    released: Vec<Entry>,
}

impl Written {
    /// Tells what became of each record. The others are those that were passed to the output.
    pub(super) fn finish(self, others: &mut Vec<Entry>) {
        self.withheld.into_iter().for_each(|entry| entry.finish(false));
        self.released.into_iter().for_each(|entry| entry.finish(true));
        others.drain(..).for_each(|entry| entry.finish(self.succeeded));
    }
}

/// Writes records. While less than the reserve is free, rejections are only counted, and no caller may use all of what is left.
#[derive(Debug)]
pub(super) struct Writer {
    sink: Sink,
    reserve: Reserve,
    pace: Pace,
    clock: Arc<dyn Clock>,
    /// Records of releases that were made without one; `None`: such releases are refused.
    backlog: Option<Backlog>,
    /// Of the lines about releases without a record.
    unrecorded: LogThrottle,
    /// Whether the last write failed.
    failing: bool,
    /// When a rotation and the free space are looked for again, on the monotonic clock; `None`: with the next write.
    next_check: Option<Duration>,
}

impl Writer {
    pub(super) fn new(sink: Sink, (reserve, on_failure): (u64, OnFailure), clock: Arc<dyn Clock>) -> Self {
        let (pace, reserve) = (Pace::new(sink.is_regular_file()), Reserve::new(reserve));
        let backlog = match on_failure {
            OnFailure::Refuse => None,
            OnFailure::Release { buffer } => Some(Backlog::new(buffer)),
        };
        let unrecorded = LogThrottle::default();
        Self { sink, reserve, pace, clock, backlog, unrecorded, failing: false, next_check: None }
    }

    /// Returns whether tasks may write, because the output is quick.
    pub(super) fn is_direct(&self) -> bool {
        self.pace.is_direct()
    }

    /// Writes records in one write. Takes out those that are not passed to the output.
    pub(super) fn write(&mut self, entries: &mut Vec<Entry>, status: &WriterStatus) -> Written {
        let start = self.clock.steady();
        let checked = self.check(start);
        let mut withheld = self.withhold(entries);
        let (is_written, released) = if self.backlog.is_some() {
            self.write_or_keep(checked, (entries, &mut withheld), status)
        } else {
            (self.write_all(checked, entries, status), Vec::new())
        };
        status.count_dropped(withheld.len());
        status.is_stalled.store(false, Ordering::Relaxed);
        status.is_below_reserve.store(self.reserve.is_reached(), Ordering::Relaxed);
        let end = self.clock.steady();
        self.pace.note(end.saturating_sub(start), end);
        Written { succeeded: is_written, withheld, released }
    }

    /// Writes some of the records that wait for the log to work again. Returns whether there are more that can be written.
    pub(super) fn write_waiting(&mut self, status: &WriterStatus) -> bool {
        if self.waiting() == 0 || self.reserve.is_reached() && self.is_still_below_reserve() {
            return false;
        }
        let checked = self.check(self.clock.steady());
        let is_drained = self.drain(checked, status);
        self.note_waiting(status);
        !is_drained && !self.failing
    }

    /// Returns the number of records that wait for the log to work again.
    pub(super) fn waiting(&self) -> usize {
        self.backlog.as_ref().map_or(0, Backlog::len)
    }

    fn is_still_below_reserve(&mut self) -> bool {
        self.reserve.note_free(self.sink.free());
        self.reserve.is_reached()
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

    fn write_all(&mut self, checked: io::Result<()>, entries: &[Entry], status: &WriterStatus) -> bool {
        let is_written = entries.is_empty() || self.write_lines(checked, entries);
        if !entries.is_empty() {
            status.record(entries.len(), is_written);
        }
        is_written
    }

    /// Writes records behind those that wait. Releases that cannot be recorded are made, and their records wait. Returns them, and
    /// whether the others were written.
    fn write_or_keep(
        &mut self,
        checked: io::Result<()>,
        (entries, withheld): (&mut Vec<Entry>, &mut Vec<Entry>),
        status: &WriterStatus,
    ) -> (bool, Vec<Entry>) {
        let mut released = Vec::new();
        // Below the reserve the records that wait would use up the shares of callers.
        let may_drain = self.waiting() > 0 && !self.reserve.is_reached();
        let (is_drained, checked) = if may_drain { (self.drain(checked, status), Ok(())) } else { (true, checked) };
        let is_written = is_drained && (entries.is_empty() || self.write_lines(checked, entries));
        if is_written {
            status.count_written(entries.len());
        } else {
            let whole = if is_drained { self.sink.whole_lines().min(entries.len()) } else { 0 };
            status.count_written(whole);
            released.extend(entries.drain(..whole));
            self.keep(entries, &mut released, status);
            status.count_failed(entries.len());
        }
        self.keep(withheld, &mut released, status);
        self.note_waiting(status);
        (is_written, released)
    }

    /// Writes the first records that wait. Returns whether none is left.
    fn drain(&mut self, checked: io::Result<()>, status: &WriterStatus) -> bool {
        let Some(backlog) = &mut self.backlog else { return true };
        let (count, bytes) = (backlog.first().len(), backlog.first().map(|line| line.len() as u64).sum());
        self.sink.forget_last_write();
        let result = checked.and_then(|()| self.sink.write(backlog.first()));
        let written = if result.is_ok() { count } else { self.sink.whole_lines() };
        backlog.remove(written);
        status.count_written(written);
        let is_drained = backlog.len() == 0;
        self.note(&result);
        if result.is_ok() {
            self.reserve.note_written(bytes);
        }
        if is_drained {
            let lost = status.lost.load(Ordering::Relaxed);
            warn!(lost, "audit records of earlier releases written");
        }
        is_drained && result.is_ok()
    }

    /// Has records of releases wait, and leaves the others in `entries`.
    fn keep(&mut self, entries: &mut Vec<Entry>, released: &mut Vec<Entry>, status: &WriterStatus) {
        let Some(backlog) = &mut self.backlog else { return };
        for mut entry in entries.extract_if(.., |entry| matches!(entry.about, About::Release(_))) {
            if backlog.push(std::mem::take(&mut entry.line)) {
                status.count_unrecorded();
            } else {
                status.count_lost();
            }
            released.push(entry);
        }
        if !released.is_empty() && self.unrecorded.is_due(self.clock.steady()) {
            let (waiting, lost) = (backlog.len(), status.lost.load(Ordering::Relaxed));
            error!(waiting, lost, "credentials released before their audit records are written");
        }
    }

    fn note_waiting(&self, status: &WriterStatus) {
        status.buffered.store(self.waiting(), Ordering::Relaxed);
        status.is_failing.store(self.failing, Ordering::Relaxed);
    }

    fn write_lines(&mut self, checked: io::Result<()>, entries: &[Entry]) -> bool {
        self.sink.forget_last_write();
        let result = checked.and_then(|()| self.sink.write(entries.iter().map(|entry| entry.line.as_slice())));
        self.note(&result);
        if !self.failing {
            self.reserve.note_written(entries.iter().map(|entry| entry.line.len() as u64).sum());
        }
        !self.failing
    }

    /// Notes the result of a write, and logs a change.
    fn note(&mut self, result: &io::Result<()>) {
        match result {
            Err(error) if !self.failing && self.backlog.is_some() => {
                error!(%error, "audit log write failed; credentials are released without their records");
            }
            Err(error) if !self.failing => error!(%error, "audit log write failed; no credential is released"),
            Ok(()) if self.failing => info!("audit log write recovered"),
            _ => {}
        }
        self.failing = result.is_err();
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
