//! Two slots for sealed contents in one file, written in turn.
//!
//! A process that is killed while it writes leaves a torn slot. Its tag then does not fit, and the other slot still has the contents
//! before. Each slot has a generation: the highest that opens is the newest.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use zeroize::Zeroizing;

use self::header::{HEADER_BYTES, Header, VERSION};
use super::memfd;
use crate::seal::{SealError, Sealed, SealingKey, TAG_BYTES};

mod header;

/// Distance of the slots. The file has holes: only what was written takes memory.
const STRIDE: u64 = 1 << 32;
/// Unit in which the system states the memory of a file.
const BLOCK_BYTES: u64 = 512;
/// Bytes of a slot beside its contents.
pub(super) const OVERHEAD: usize = HEADER_BYTES + TAG_BYTES;

/// The slots of a file.
#[derive(Debug)]
pub(super) struct Slots {
    file: File,
    key: SealingKey,
    newest: Option<Place>,
}

/// Where contents are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    slot: u8,
    generation: u64,
}

/// Why the slots have no contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// Nothing was ever written.
    #[error("nothing was written")]
    Empty,
    /// Another version of the broker wrote them.
    #[error("another version of the broker wrote it")]
    OtherVersion,
    /// No slot opens with the key.
    #[error("no copy is whole")]
    Damaged,
}

/// Contents cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Slots {
    /// Returns the slots of a new file.
    pub(super) fn new(file: File, key: SealingKey) -> Self {
        Self { file, key, newest: None }
    }

    /// Returns the slots of a file, with the newest contents.
    pub(super) fn open(file: File, key: SealingKey) -> Result<(Self, Zeroizing<Vec<u8>>), Unreadable> {
        let mut slots = Self::new(file, key);
        let mut found: Vec<_> = [0, 1].into_iter().filter_map(|slot| Some((slot, slots.header(slot)?))).collect();
        let was_written = !found.is_empty();
        found.retain(|(_, header)| header.version == VERSION);
        let is_of_other_version = was_written && found.is_empty();
        found.sort_by_key(|(_, header)| std::cmp::Reverse(header.generation));
        for (slot, header) in found {
            if let Some(contents) = slots.contents(slot, &header) {
                slots.newest = Some(Place { slot, generation: header.generation });
                return Ok((slots, contents));
            }
        }
        Err(match (was_written, is_of_other_version) {
            (false, _) => Unreadable::Empty,
            (true, true) => Unreadable::OtherVersion,
            (true, false) => Unreadable::Damaged,
        })
    }

    /// Writes contents into the slot that does not have the newest ones. If it fails, those stay.
    pub(super) fn write(&mut self, contents: Zeroizing<Vec<u8>>) -> Result<(), WriteError> {
        let Place { slot, generation } = self.newest.map_or(Place { slot: 0, generation: 1 }, Place::next);
        let header = Header::new(generation, contents.len() + TAG_BYTES);
        let sealed = self.key.seal(&header.context(slot), contents)?;
        let start = start_of(slot);
        self.file.write_all_at(&sealed.ciphertext, start + HEADER_BYTES as u64)?;
        self.file.write_all_at(&header.with_nonce(sealed.nonce).to_bytes(), start)?;
        let end = (HEADER_BYTES + sealed.ciphertext.len()) as u64;
        memfd::release(&self.file, start + end, STRIDE - end)?;
        self.newest = Some(Place { slot, generation });
        Ok(())
    }

    fn header(&self, slot: u8) -> Option<Header> {
        let mut bytes = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut bytes, start_of(slot)).ok()?;
        Header::from_bytes(&bytes)
    }

    fn contents(&self, slot: u8, header: &Header) -> Option<Zeroizing<Vec<u8>>> {
        // A length that was tampered with takes no more memory than the file does.
        let written = self.file.metadata().ok()?.blocks().saturating_mul(BLOCK_BYTES);
        let length = usize::try_from(header.length).ok().filter(|_| header.length <= written)?;
        let mut ciphertext = vec![0; length];
        self.file.read_exact_at(&mut ciphertext, start_of(slot) + HEADER_BYTES as u64).ok()?;
        self.key.open(&header.context(slot), Sealed { nonce: header.nonce, ciphertext }).ok()
    }
}

impl Place {
    fn next(self) -> Self {
        Self { slot: 1 - self.slot, generation: self.generation.saturating_add(1) }
    }
}

fn start_of(slot: u8) -> u64 {
    u64::from(slot) * STRIDE
}

#[cfg(test)]
mod tests;
