//! Envelope of the shared cache, protocol EB1: sealed values under derived names.
//!
//! `"EB1" | algorithm | key ID[4] | nonce[12] | ciphertext and tag`. The first 8 bytes and the key of the entry are authenticated with the
//! value, so it opens only under its own name, and no byte of it can change. A writer of the cache can still put back an older
//! value of the same name: its expiry, which is sealed, bounds that.

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::entry_key::{EntryKey, EntryName};
use super::keys::{KeyId, Keys};
use crate::seal::{KeyBytes, NONCE_BYTES, OpenError, SealError, Sealed, SealingKey};

#[cfg(test)]
mod tests;

/// Begins each envelope: the version of the protocol, and the algorithm AES-256-GCM.
const VERSION: [u8; 4] = *b"EB1\x01";
const HEADER_BYTES: usize = 8;

/// Seals and opens the values of a shared cache, and names its entries.
#[derive(Debug)]
pub struct Envelopes {
    names: hmac::Key,
    sealing: RingKey,
    opening: Vec<RingKey>,
}

/// The reason why a value is not used. The entry then counts as a miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It is too short, or of another version or algorithm.
    #[error("value of the shared cache is not of version EB1; delete it, or upgrade all brokers")]
    UnknownFormat,
    /// No line of the keys file has the key that sealed it.
    #[error("value of the shared cache has the unknown seal key {0}; add its line to the keys file")]
    UnknownKey(KeyId),
    /// It has changed, or was copied from another entry.
    #[error("value of the shared cache does not open: {0}; find out who writes to the cache")]
    Changed(#[from] OpenError),
}

#[derive(Debug)]
struct RingKey {
    id: KeyId,
    key: SealingKey,
}

impl Envelopes {
    /// Returns the envelopes of these keys.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn new(keys: &Keys) -> Result<Self, SealError> {
        let opening = keys.opening().iter().map(RingKey::new).collect::<Result<_, _>>()?;
        let names = hmac::Key::new(hmac::HMAC_SHA256, keys.names().expose());
        Ok(Self { names, sealing: RingKey::new(keys.sealing())?, opening })
    }

    /// Returns the name of an entry.
    #[must_use]
    pub fn name_of(&self, key: &EntryKey<'_>) -> EntryName {
        let tag = hmac::sign(&self.names, &key.canonical());
        let mut hash = [0; EntryName::HASH_BYTES];
        hash.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        EntryName::of_hash(hash)
    }

    /// Seals a value in place, with the first seal key.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn seal(&self, key: &EntryKey<'_>, value: Zeroizing<Vec<u8>>) -> Result<Vec<u8>, SealError> {
        let header = header(self.sealing.id);
        let Sealed { nonce, ciphertext } = self.sealing.key.seal(&context(header, key), value)?;
        Ok([&header[..], &nonce, &ciphertext].concat())
    }

    /// Opens a value, whichever of the seal keys it was sealed with.
    ///
    /// # Errors
    /// Returns why the value is not used.
    pub fn open(&self, key: &EntryKey<'_>, envelope: &[u8]) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        let parts = envelope.split_first_chunk().and_then(|(header, rest)| Some((header, rest.split_first_chunk()?)));
        let (header, (nonce, ciphertext)): (&[u8; HEADER_BYTES], (&[u8; NONCE_BYTES], _)) =
            parts.ok_or(EnvelopeError::UnknownFormat)?;
        let id = key_id(*header).ok_or(EnvelopeError::UnknownFormat)?;
        let ring = self.ring().find(|ring| ring.id == id).ok_or(EnvelopeError::UnknownKey(id))?;
        let sealed = Sealed { nonce: *nonce, ciphertext: ciphertext.to_vec() };
        Ok(ring.key.open(&context(*header, key), sealed)?)
    }

    fn ring(&self) -> impl Iterator<Item = &RingKey> {
        [&self.sealing].into_iter().chain(&self.opening)
    }
}

impl RingKey {
    fn new(bytes: &KeyBytes) -> Result<Self, SealError> {
        Ok(Self { id: KeyId::of(bytes), key: SealingKey::new(bytes)? })
    }
}

fn header(id: KeyId) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..VERSION.len()].copy_from_slice(&VERSION);
    header[VERSION.len()..].copy_from_slice(&id.bytes());
    header
}

/// Returns the ID of the key in a header of this version.
fn key_id(header: [u8; HEADER_BYTES]) -> Option<KeyId> {
    let (version, id) = header.split_first_chunk()?;
    (*version == VERSION).then_some(KeyId::from(*id.first_chunk()?))
}

/// Returns what is authenticated beside the value.
fn context(header: [u8; HEADER_BYTES], key: &EntryKey<'_>) -> Vec<u8> {
    [&header[..], &key.canonical()].concat()
}
