//! Index files: named after their log's start, so that a renamed log keeps its index, and written by one run at a time.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::header::{Counts, END, Header, SIZE, digest};
use crate::audit::reader::GZIP;

/// Names of index files begin with a dot, so that neither the program nor logrotate takes them for logs.
const PREFIX: &str = ".ecr-broker-";
const SUFFIX: &str = ".index";
/// The start of a log that names its index: its first line, which has a time and a random ID.
const START: u64 = 64 << 10;
/// The start of a compressed log that names its index.
const COMPRESSED_START: usize = 4 << 10;

/// Wait for the lock: 10 s, in which a run reads gigabytes.
const LOCK_TRIES: u32 = 1_000;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The start of a log.
#[derive(Debug)]
pub(super) struct LogStart {
    digest: String,
    /// Whether gzip has compressed the log.
    pub(super) is_compressed: bool,
}

impl LogStart {
    /// Reads the start of a log; `None`: it has no whole line.
    pub(super) fn of(log: &File) -> io::Result<Option<Self>> {
        let mut start = Vec::new();
        let mut part = [0; 16 << 10];
        while (start.len() as u64) < START && !start.contains(&b'\n') {
            match log.read_at(&mut part, start.len() as u64)? {
                0 => break,
                read => start.extend_from_slice(&part[..read]),
            }
        }
        let is_compressed = start.starts_with(GZIP);
        let end = match start.iter().position(|byte| *byte == b'\n') {
            _ if is_compressed => start.len().min(COMPRESSED_START),
            Some(end) => end,
            None => return Ok(None),
        };
        Ok(Some(Self { digest: digest(&start[..end]), is_compressed }))
    }

    /// Returns the file name of the index.
    pub(super) fn index_name(&self) -> String {
        format!("{PREFIX}{}{SUFFIX}", self.digest)
    }
}

/// An open index, which no other run writes until [`IndexFile::unlock`].
#[derive(Debug)]
pub(super) struct IndexFile {
    file: File,
    pub(super) header: Header,
}

impl IndexFile {
    /// Opens or creates the index of a log. One that does not fit the log is emptied.
    ///
    /// # Errors
    /// It cannot be written, or it may be another user's: a log's directory may belong to the broker's user.
    pub(super) fn open(path: &Path, log: &File, start: &LogStart) -> anyhow::Result<Self> {
        let flags = rustix::fs::OFlags::NOFOLLOW.bits();
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(i32::try_from(flags).unwrap_or_default())
            .open(path)?;
        let metadata = file.metadata()?;
        let is_own = metadata.uid() == rustix::process::geteuid().as_raw() && metadata.nlink() == 1;
        ensure!(metadata.is_file() && is_own, "it is not a file of this user alone");
        wait_for_lock(&file)?;
        let mut index = Self { file, header: Header::new() };
        if let Some(header) = index.read_header().filter(|header| fits(header, log, start)) {
            index.header = header;
        }
        index.file.set_len(index.header.length.max(SIZE as u64))?;
        Ok(index)
    }

    fn read_header(&self) -> Option<Header> {
        let mut bytes = [0; SIZE];
        self.file.read_exact_at(&mut bytes, 0).ok()?;
        let length = self.file.metadata().ok()?.len();
        Header::parse(&bytes).filter(|header| (SIZE as u64..=length).contains(&header.length))
    }

    /// Appends a block. It counts once [`IndexFile::commit`] returns.
    pub(super) fn append(&mut self, block: &[u8]) -> io::Result<()> {
        self.file.write_all_at(block, self.header.length)?;
        self.header.length += block.len() as u64;
        Ok(())
    }

    /// Makes the blocks count, for a log that is indexed up to `position`.
    pub(super) fn commit(&mut self, log: &File, position: u64, counts: Counts) -> anyhow::Result<()> {
        self.header.position = position;
        self.header.counts = counts;
        self.header.end = end_digest(log, position)?;
        self.file.sync_data()?;
        self.file.write_all_at(&self.header.encode()?, 0)?;
        Ok(self.file.sync_data()?)
    }

    /// Lets other runs write the index. The blocks up to [`Header::length`] stay as they are.
    pub(super) fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }

    /// Returns the file, for its blocks up to [`Header::length`].
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

/// Waits for a run that writes the index, with a limit: it may hang.
fn wait_for_lock(file: &File) -> anyhow::Result<()> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
    bail!("another run keeps it locked")
}

/// Returns whether the log still begins with what was indexed. A compressed log does not grow.
fn fits(header: &Header, log: &File, start: &LogStart) -> bool {
    let Ok(length) = log.metadata().map(|metadata| metadata.len()) else { return false };
    let has_length =
        if start.is_compressed { header.position == length } else { (1..=length).contains(&header.position) };
    has_length && end_digest(log, header.position).is_ok_and(|end| end == header.end)
}

fn end_digest(log: &File, position: u64) -> io::Result<String> {
    let start = position.saturating_sub(END);
    let mut bytes = vec![0; usize::try_from(position - start).unwrap_or_default()];
    log.read_exact_at(&mut bytes, start)?;
    Ok(digest(&bytes))
}

/// Removes the indexes of logs that were deleted: those in a directory that are not in `used`.
pub(super) fn remove_others(directory: &Path, used: &[PathBuf]) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) && !used.contains(&path) {
            _ = fs::remove_file(&path);
        }
    }
}

/// Reads a whole block at a position into `bytes`.
pub(super) fn read_exact(file: &File, position: u64, length: usize, bytes: &mut Vec<u8>) -> anyhow::Result<()> {
    bytes.resize(length, 0);
    file.read_exact_at(bytes, position).context("cannot read the index")
}
