//! The audit log: one line for every credential that is released, and for every caller that is denied one.
//!
//! A line is written before its credential goes out, and without it nothing does (P11). Lines are written by a thread of their
//! own, as many at once as are waiting: a sink that does not take them, such as a pipe that nobody reads, then refuses those who
//! wait, and stops nobody else.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tracing::{error, info};

use crate::clock::Clock;

/// How long a record may take to be written. Beyond it its caller is refused; the line may yet be written, and then says more than
/// was released, never less.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many records may wait.
const QUEUE: usize = 4096;
/// How many denials may: those who get nothing must not keep the records of releases waiting. Those beyond are counted.
const WAITING_DENIALS: usize = 64;
/// How many are written at once.
const MOST_AT_ONCE: usize = 256;

/// Where the lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The program's standard error, among the log's lines.
    Stderr,
    /// The program's standard output.
    Stdout,
    /// A file, made with mode 0600 where there is none; one that is moved away is made anew.
    File(PathBuf),
}

/// What is recorded of one decision. Whatever is not known is left out.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    /// The request's id, as in the log and in the caller's errors.
    pub request_id: String,
    /// The caller's trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Who asked.
    pub caller: String,
    /// How that is known.
    pub proof: &'a str,
    /// What came of it.
    pub outcome: Outcome,
    /// The registry's account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The registry's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<&'a str>,
    /// The registry's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// The name of one's own by which it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<&'a str>,
    /// The profile that minted the credential, or was asked for.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub profile: &'a str,
    /// The name of the session of the profile's roles, as AWS's trail of calls has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_session: Option<String>,
    /// The grant that decided; none where no grant allowed it, or there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<&'a str>,
    /// Names the grants that were in force.
    pub policy: &'a str,
    /// Names the credential without giving it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_id: Option<String>,
    /// The id of AWS's answer that brought the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_request_id: Option<&'a str>,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The caller got the credential.
    Released,
    /// The caller got the credential, although the grants deny it: they are only observed.
    Observed,
    /// The caller may not have it.
    Denied,
}

/// The record could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit record could not be written")]
pub struct Unwritten;

/// A place for records.
#[derive(Debug, Clone)]
pub struct AuditLog {
    queue: mpsc::Sender<Entry>,
    denials: Arc<Semaphore>,
    unrecorded: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Entry {
    line: Vec<u8>,
    written: oneshot::Sender<bool>,
    /// Of a denial: its place among those that may wait, also when its caller no longer does.
    _place: Option<OwnedSemaphorePermit>,
}

/// A record as a line has it.
#[derive(Serialize)]
struct Line<'a> {
    kind: &'static str,
    time: String,
    #[serde(flatten)]
    record: &'a Record<'a>,
    /// Denials since the last record that were too many to be recorded one by one.
    #[serde(skip_serializing_if = "is_zero")]
    denials_before: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[derive(Debug)]
enum Sink {
    Stderr,
    Stdout,
    File { path: PathBuf, file: File, inode: u64 },
}

impl AuditLog {
    /// Opens the output, and starts the thread that writes to it.
    ///
    /// # Errors
    /// Where the file cannot be opened.
    pub fn open(output: &Output, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let sink = Sink::open(output)?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || write_all(waiting, sink))?;
        let denials = Arc::new(Semaphore::new(WAITING_DENIALS));
        Ok(Self { queue, denials, unrecorded: Arc::default(), clock })
    }

    /// Records a denial, or counts it where too many are waiting already; the next record says how many were only counted. A denial
    /// stands whether or not it is on record.
    pub async fn write_denial(&self, record: &Record<'_>) {
        match Arc::clone(&self.denials).try_acquire_owned() {
            Ok(place) => _ = self.write_in(Some(place), record).await,
            Err(_) => _ = self.unrecorded.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Comes back when the record is written.
    ///
    /// # Errors
    /// Where it is not.
    pub async fn write(&self, record: &Record<'_>) -> Result<(), Unwritten> {
        self.write_in(None, record).await
    }

    async fn write_in(&self, place: Option<OwnedSemaphorePermit>, record: &Record<'_>) -> Result<(), Unwritten> {
        let time = humantime::format_rfc3339_millis(self.clock.now().wall).to_string();
        let denials_before = self.unrecorded.swap(0, Ordering::Relaxed);
        let line = Line { kind: "audit", time, record, denials_before };
        let mut line = serde_json::to_vec(&line).map_err(|_| Unwritten)?;
        line.push(b'\n');
        let (written, outcome) = oneshot::channel();
        let queued = self.queue.try_send(Entry { line, written, _place: place });
        if queued.is_ok() && matches!(tokio::time::timeout(PATIENCE, outcome).await, Ok(Ok(true))) {
            return Ok(());
        }
        self.unrecorded.fetch_add(denials_before, Ordering::Relaxed);
        Err(Unwritten)
    }
}

/// The thread's work, until no log is left to write to.
fn write_all(mut waiting: mpsc::Receiver<Entry>, mut sink: Sink) {
    let mut entries = Vec::new();
    let (mut failing, mut torn) = (false, false);
    while waiting.blocking_recv_many(&mut entries, MOST_AT_ONCE) > 0 {
        let end_of_torn_line: &[u8] = if torn { b"\n" } else { b"" };
        let lines = [end_of_torn_line].into_iter().chain(entries.iter().map(|entry| entry.line.as_slice()));
        let lines = lines.collect::<Vec<_>>().concat();
        let mut written = 0;
        let result = sink.write(&lines, &mut written);
        torn = if written == 0 { torn } else { lines[written - 1] != b'\n' };
        match &result {
            Err(error) if !failing => error!(%error, "the audit log cannot be written; nothing is released"),
            Ok(()) if failing => info!("the audit log can be written again"),
            _ => {}
        }
        failing = result.is_err();
        for entry in entries.drain(..) {
            // Whoever waited for it may have left.
            let _ = entry.written.send(!failing);
        }
    }
}

impl Sink {
    fn open(output: &Output) -> io::Result<Self> {
        match output {
            Output::Stderr => Ok(Self::Stderr),
            Output::Stdout => Ok(Self::Stdout),
            Output::File(path) => {
                let file = open_file(path)?;
                Ok(Self::File { path: path.clone(), inode: file.metadata()?.ino(), file })
            }
        }
    }

    /// Whole lines, in one piece where the system allows it. How much was written is counted also where it fails.
    fn write(&mut self, lines: &[u8], written: &mut usize) -> io::Result<()> {
        match self {
            Self::Stderr => write_counted(&mut io::stderr().lock(), lines, written),
            Self::Stdout => write_counted(&mut io::stdout().lock(), lines, written),
            Self::File { path, file, inode } => {
                if fs::metadata(&*path).map_or(true, |found| found.ino() != *inode) {
                    *file = open_file(path)?;
                    *inode = file.metadata()?.ino();
                }
                write_counted(file, lines, written)
            }
        }
    }
}

fn write_counted(sink: &mut impl io::Write, lines: &[u8], written: &mut usize) -> io::Result<()> {
    while *written < lines.len() {
        match sink.write(&lines[*written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => *written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    sink.flush()
}

fn open_file(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, and then no more.
    struct Full(usize);

    impl io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_was_written_is_counted_also_where_it_fails() {
        for (room, expected) in [(0, 0), (3, 3), (8, 8), (100, 8)] {
            let mut written = 0;
            let result = write_counted(&mut Full(room), b"one\ntwo\n", &mut written);
            assert_eq!((written, result.is_ok()), (expected, room >= 8), "{room}");
        }
    }
}
