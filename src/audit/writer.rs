//! The thread that writes audit records.

use std::io;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tracing::{error, info};

use super::sink::Sink;

/// Maximum number of records in one write.
const MAX_BATCH: usize = 256;

/// A queued record.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) line: Vec<u8>,
    /// Receives whether the line was written.
    pub(super) written: oneshot::Sender<bool>,
    /// Permit of a queued denial. It is freed after the write, even if the request ends earlier.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

/// Writes records until every handle of the log is dropped.
pub(super) fn run(mut queue: mpsc::Receiver<Entry>, sink: Sink) {
    let mut writer = Writer { sink, failing: false, torn: false };
    let mut entries = Vec::new();
    while queue.blocking_recv_many(&mut entries, MAX_BATCH) > 0 {
        let written = writer.write(&entries).is_ok();
        for entry in entries.drain(..) {
            // The request may have ended.
            let _ = entry.written.send(written);
        }
    }
}

struct Writer {
    sink: Sink,
    /// Whether the last write failed.
    failing: bool,
    /// Whether the output ends in the middle of a line.
    torn: bool,
}

impl Writer {
    fn write(&mut self, entries: &[Entry]) -> io::Result<()> {
        let end_of_torn_line: &[u8] = if self.torn { b"\n" } else { b"" };
        let lines = [end_of_torn_line].into_iter().chain(entries.iter().map(|entry| entry.line.as_slice()));
        let lines = lines.collect::<Vec<_>>().concat();
        let mut written = 0;
        let result = self.sink.write(&lines, &mut written);
        self.torn = if written == 0 { self.torn } else { lines[written - 1] != b'\n' };
        self.log_change(&result);
        result
    }

    fn log_change(&mut self, result: &io::Result<()>) {
        match result {
            Err(error) if !self.failing => error!(%error, "audit log write failed; no credential is released"),
            Ok(()) if self.failing => info!("audit log write recovered"),
            _ => {}
        }
        self.failing = result.is_err();
    }
}
