//! Releases that were made without a record (`audit.on_failure = "release"`): their records wait here until the log works again.

use std::collections::VecDeque;

/// Records in one write: as many as of the queue.
const CHUNK: usize = 256;

/// Records of releases, up to a number of bytes, in the order of the releases.
#[derive(Debug)]
pub(super) struct Backlog {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    max_bytes: usize,
}

impl Backlog {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { lines: VecDeque::new(), bytes: 0, max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX) }
    }

    /// Keeps a record, or returns false if it does not fit.
    pub(super) fn push(&mut self, mut line: Vec<u8>) -> bool {
        line.shrink_to_fit();
        let bytes = self.bytes.saturating_add(size_of_record(&line));
        let has_room = bytes <= self.max_bytes;
        if has_room {
            self.bytes = bytes;
            self.lines.push_back(line);
        }
        has_room
    }

    /// Returns the first records, which stay.
    pub(super) fn first(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.lines.iter().take(CHUNK).map(Vec::as_slice)
    }

    /// Removes the first records.
    pub(super) fn remove(&mut self, count: usize) {
        let removed = self.lines.drain(..count.min(self.lines.len()));
        self.bytes = self.bytes.saturating_sub(removed.map(|line| size_of_record(&line)).sum());
        if self.lines.is_empty() {
            self.lines.shrink_to(CHUNK);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }
}

fn size_of_record(line: &[u8]) -> usize {
    line.len() + size_of::<Vec<u8>>()
}
