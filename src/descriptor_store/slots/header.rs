//! The header of a slot.

use crate::seal::NONCE_BYTES;

/// Version of the format of slots and contents. Another version is not read.
pub(super) const VERSION: u32 = 1;
/// Begins a slot that was written.
const MAGIC: [u8; 8] = *b"ecrbslot";
/// Size of a header: magic, version, generation, length and nonce.
pub(super) const HEADER_BYTES: usize = 8 + 4 + 8 + 8 + NONCE_BYTES;
/// Separates these messages from others that the same key may seal one day.
const DOMAIN: &[u8] = b"ecr-broker descriptor store\0";

/// What a slot has, beside its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) generation: u64,
    /// Bytes of the ciphertext.
    pub(super) length: u64,
    pub(super) nonce: [u8; NONCE_BYTES],
}

impl Header {
    pub(super) fn new(generation: u64, length: usize) -> Self {
        Self { version: VERSION, generation, length: length as u64, nonce: [0; NONCE_BYTES] }
    }

    pub(super) fn with_nonce(self, nonce: [u8; NONCE_BYTES]) -> Self {
        Self { nonce, ..self }
    }

    /// Returns the context in which the slot's contents are sealed: everything in the header, and which slot it is.
    pub(super) fn context(&self, slot: u8) -> Vec<u8> {
        [DOMAIN, &self.version.to_le_bytes(), &[slot], &self.generation.to_le_bytes(), &self.length.to_le_bytes()]
            .concat()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Self { version, generation, length, nonce } = self;
        [&MAGIC[..], &version.to_le_bytes(), &generation.to_le_bytes(), &length.to_le_bytes(), nonce].concat()
    }

    /// Reads a header; `None` if there is none. A version that is not known is in it.
    pub(super) fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (version, rest) = rest.split_first_chunk()?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        Some(Self {
            version: u32::from_le_bytes(*version),
            generation: u64::from_le_bytes(*generation),
            length: u64::from_le_bytes(*length),
            nonce: rest.try_into().ok()?,
        })
    }
}
