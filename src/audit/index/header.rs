//! Head of an index file: how far the log is indexed, and how much of the file counts.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes of the head, one line of JSON filled up with blanks. A disk writes them at once.
pub(super) const SIZE: usize = 512;
const FORMAT: &str = "ecr-broker audit index 1";
/// The end of what was read, which must still be there: a log is only ever appended to.
pub(super) const END: u64 = 4 << 10;

/// The head of an index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    format: String,
    /// Bytes of the index that count.
    pub(super) length: u64,
    /// Bytes of the log that are indexed.
    pub(super) position: u64,
    /// Digest of the last [`END`] of them.
    pub(super) end: String,
    /// What was read of the log.
    pub(super) counts: Counts,
}

/// What was read of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) lines: u64,
    pub(super) records: u64,
    pub(super) damaged: u64,
    /// Time of the first and of the last record, in seconds since 1970.
    pub(super) times: Option<(u32, u32)>,
}

impl Header {
    /// Returns the head of an empty index.
    pub(super) fn new() -> Self {
        Self { format: FORMAT.to_owned(), length: SIZE as u64, ..Self::default() }
    }

    /// Parses a head; `None`: it is of another format, or damaged.
    pub(super) fn parse(bytes: &[u8; SIZE]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|header: &Self| header.format == FORMAT)
    }

    pub(super) fn encode(&self) -> anyhow::Result<[u8; SIZE]> {
        let text = serde_json::to_vec(self)?;
        let mut bytes = [b' '; SIZE];
        anyhow::ensure!(text.len() < SIZE, "the head of the index is too long");
        bytes[..text.len()].copy_from_slice(&text);
        bytes[SIZE - 1] = b'\n';
        Ok(bytes)
    }
}

impl Counts {
    /// Counts a record.
    pub(super) fn count(&mut self, time: u32) {
        self.records += 1;
        let (first, last) = self.times.unwrap_or((time, time));
        self.times = Some((first.min(time), last.max(time)));
    }
}

/// Returns 128 bits of a digest, as text.
pub(super) fn digest(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes)[..16])
}
