//! Reads logs into their indexes, and blocks from them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::block::{Block, HEAD, length_after};
use super::build::Builder;
use super::file::{IndexFile, LogStart, read_exact, remove_others};
use super::header::{Counts, SIZE};
use super::seconds;
use crate::audit::reader::{Extent, TOO_LONG, may_be_record, next_line, open};
use crate::time_text::rfc3339_seconds;

/// Bytes that are read from a log at once.
const BUFFER: usize = 1 << 20;

/// Where indexes are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Beside each log.
    Beside,
    /// In a directory.
    Directory(PathBuf),
    /// Nowhere: the logs are read from the start.
    Nowhere,
}

/// Logs with their indexes.
#[derive(Debug, Default)]
pub struct IndexedLogs {
    /// What was read, now and before.
    pub extent: Extent,
    /// Number of the records that were read now.
    pub read_now: u64,
    /// Why indexes were not kept, each as `cannot keep an index of FILE: PROBLEM`.
    pub unkept: Vec<String>,
    indexes: Vec<Index>,
    used: Vec<PathBuf>,
}

/// The index of one log.
#[derive(Debug)]
enum Index {
    Kept(IndexFile),
    InMemory(Vec<Vec<u8>>),
}

impl IndexedLogs {
    /// Reads what the indexes of the logs lack, and adds it to them.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn open(logs: &[PathBuf], place: &Place) -> anyhow::Result<Self> {
        let mut all = Self::default();
        let mut times = None::<(u32, u32)>;
        for log in logs {
            let counts = all.add(log, place).with_context(|| format!("cannot read {}", log.display()))?;
            all.extent.records += counts.records;
            if let Some((first, last)) = counts.times {
                let (earliest, latest) = times.unwrap_or((first, last));
                times = Some((earliest.min(first), latest.max(last)));
            }
        }
        let text = |time| rfc3339_seconds(seconds(time)).unwrap_or_default();
        all.extent.times = times.map(|(first, last)| (text(first), text(last))).unwrap_or_default();
        Ok(all)
    }

    /// Removes the indexes of other logs from the directories of these: the logs were deleted.
    pub fn remove_others(&self) {
        let directories: std::collections::BTreeSet<_> = self.used.iter().filter_map(|path| path.parent()).collect();
        for directory in directories {
            remove_others(directory, &self.used);
        }
    }

    fn add(&mut self, log: &Path, place: &Place) -> anyhow::Result<Counts> {
        // A pipe can be opened once only.
        if *place == Place::Nowhere || !std::fs::metadata(log)?.is_file() {
            return self.add_in_memory(log);
        }
        let file = File::open(log)?;
        let Some(start) = LogStart::of(&file)? else { return self.add_in_memory(log) };
        let path = place.of(log, &start.index_name());
        // A log that is named twice, or its copy.
        if self.used.contains(&path) {
            return self.add_in_memory(log);
        }
        match IndexFile::open(&path, &file, &start) {
            Ok(index) => {
                self.used.push(path);
                self.add_kept(log, &file, index, start.is_compressed)
            }
            Err(error) => {
                self.unkept.push(format!("cannot keep an index of {}: {error:#}", log.display()));
                self.add_in_memory(log)
            }
        }
    }

    fn add_kept(
        &mut self,
        log: &Path,
        file: &File,
        mut index: IndexFile,
        is_compressed: bool,
    ) -> anyhow::Result<Counts> {
        let from = index.header.position;
        if !is_compressed || from == 0 {
            let lines: Box<dyn BufRead> = if is_compressed { open(log)? } else { Box::new(reader(file, from)?) };
            let before = index.header.counts.records;
            let mut scan = Scan::new(log, from, index.header.counts);
            scan.run(lines, &mut self.extent, |scan, block| {
                index.append(&block)?;
                // A compressed log has no position to go on from.
                if is_compressed { Ok(()) } else { index.commit(file, scan.position, scan.counts) }
            })?;
            self.read_now += scan.counts.records - before;
            let end = if is_compressed { file.metadata()?.len() } else { scan.position };
            if end > index.header.position {
                index.commit(file, end, scan.counts)?;
            }
        }
        index.unlock()?;
        let counts = index.header.counts;
        self.extent.damaged += counts.damaged;
        self.indexes.push(Index::Kept(index));
        Ok(counts)
    }

    fn add_in_memory(&mut self, log: &Path) -> anyhow::Result<Counts> {
        let mut blocks = Vec::new();
        let mut scan = Scan::new(log, 0, Counts::default());
        scan.run(open(log)?, &mut self.extent, |_, block| {
            blocks.push(block);
            Ok(())
        })?;
        self.read_now += scan.counts.records;
        self.extent.damaged += scan.counts.damaged;
        self.indexes.push(Index::InMemory(blocks));
        Ok(scan.counts)
    }

    /// Calls `each` for every block.
    pub(super) fn each_block(&self, mut each: impl FnMut(Block<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        for index in &self.indexes {
            match index {
                Index::Kept(index) => each_kept(index, &mut each)?,
                Index::InMemory(blocks) => {
                    for block in blocks {
                        let (head, rest) = block.split_first_chunk().context("a block of the index is damaged")?;
                        each(Block::decode(head, rest)?)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn each_kept(index: &IndexFile, each: &mut impl FnMut(Block<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let (mut position, mut bytes) = (SIZE as u64, Vec::new());
    while position < index.header.length {
        read_exact(index.file(), position, HEAD, &mut bytes)?;
        let head: [u8; HEAD] = *bytes.first_chunk().context("a block of the index is damaged")?;
        let length = length_after(&head)?;
        read_exact(index.file(), position + HEAD as u64, length, &mut bytes)?;
        each(Block::decode(&head, &bytes)?)?;
        position += (HEAD + length) as u64;
    }
    Ok(())
}

impl Place {
    fn of(&self, log: &Path, name: &str) -> PathBuf {
        match self {
            Self::Directory(directory) => directory.join(name),
            Self::Beside | Self::Nowhere => log.with_file_name(name),
        }
    }
}

fn reader(file: &File, position: u64) -> io::Result<impl BufRead + use<>> {
    let mut file = file.try_clone()?;
    file.seek(SeekFrom::Start(position))?;
    Ok(BufReader::with_capacity(BUFFER, file))
}

/// One pass over the lines of a log.
struct Scan {
    name: String,
    /// Bytes of the log up to the end of the last line that counts.
    position: u64,
    counts: Counts,
    builder: Builder,
}

impl Scan {
    fn new(log: &Path, position: u64, counts: Counts) -> Self {
        Self { name: log.display().to_string(), position, counts, builder: Builder::default() }
    }

    /// Reads all lines, and calls `each` for every block. A last line without an end that is not a whole record may
    /// still be written: the next run reads it again.
    fn run(
        &mut self,
        lines: impl BufRead,
        extent: &mut Extent,
        mut each: impl FnMut(&Self, Vec<u8>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let start = self.position;
        let mut lines = Counted { inner: lines, count: 0 };
        let mut line = Vec::new();
        while let Some(fits) = next_line(&mut lines, &mut line)? {
            let record = self.record_of(&line, fits);
            if fits && !line.ends_with(b"\n") && !matches!(record, Ok(Some(_))) {
                let place = format!("{}:{}", self.name, self.counts.lines + 1);
                record.err().into_iter().for_each(|problem| extent.damage(format_args!("{place}: {problem}")));
                break;
            }
            self.count(record, extent);
            self.position = start + lines.count;
            if self.builder.is_full() {
                self.flush(&mut each)?;
            }
        }
        self.flush(&mut each)
    }

    /// Returns the time of a line's record; `None`: it is not a record.
    fn record_of(&mut self, line: &[u8], fits: bool) -> Result<Option<u32>, &'static str> {
        match fits {
            _ if !may_be_record(line) => Ok(None),
            true => self.builder.add(line),
            false => Err(TOO_LONG),
        }
    }

    fn count(&mut self, record: Result<Option<u32>, &'static str>, extent: &mut Extent) {
        self.counts.lines += 1;
        match record {
            Ok(None) => {}
            Ok(Some(time)) => self.counts.count(time),
            Err(problem) => {
                self.counts.damaged += 1;
                extent.name_damaged(format_args!("{}:{}: {problem}", self.name, self.counts.lines));
            }
        }
    }

    fn flush(&mut self, each: &mut impl FnMut(&Self, Vec<u8>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.builder.take().map_or(Ok(()), |block| each(self, block))
    }
}

/// Counts the bytes that are read.
struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count += read as u64;
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.count += amount as u64;
        self.inner.consume(amount);
    }
}
