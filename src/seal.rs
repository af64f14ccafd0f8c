//! Authenticated encryption of secrets that leave the process's memory: AES-256-GCM with a random nonce for each message.
//!
//! Counted nonces could repeat: a crash loses the last count, and the next process would use it for other contents. With random nonces
//! of 96 bits one key may seal 2^32 messages (NIST SP 800-38D): one a second for 136 years.

use std::array::TryFromSliceError;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

/// Size of a key.
pub const KEY_BYTES: usize = 32;
/// Size of a nonce.
pub const NONCE_BYTES: usize = NONCE_LEN;
/// Bytes by which a ciphertext is longer than its plaintext.
pub const TAG_BYTES: usize = 16;

/// The bytes of a key. They are never printed, and their memory is wiped when they are dropped.
///
/// ```compile_fail,E0277
/// fn printed<T: std::fmt::Display>() {}
/// printed::<ecr_broker::seal::KeyBytes>();
/// ```
pub struct KeyBytes(
    // On the heap: a move would leave a copy behind.
    Box<Zeroizing<[u8; KEY_BYTES]>>,
);

/// A key that seals and opens.
pub struct SealingKey(RandomizedNonceKey);

/// A sealed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The nonce, different for each message.
    pub nonce: [u8; NONCE_BYTES],
    /// The ciphertext with its tag.
    pub ciphertext: Vec<u8>,
}

/// The message was not sealed with this key and this context, or has changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed message has changed, or belongs to another key or place")]
pub struct OpenError;

/// The cryptographic library failed, such as without randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library failed")]
pub struct SealError;

impl KeyBytes {
    /// Returns a new key.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn random() -> Result<Self, SealError> {
        let mut key = Self::blank();
        rand::fill(&mut **key.0).map_err(|_| SealError)?;
        Ok(key)
    }

    /// Returns the bytes, for the place that keeps them.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    fn blank() -> Self {
        Self(Box::new(Zeroizing::new([0; KEY_BYTES])))
    }
}

impl TryFrom<&[u8]> for KeyBytes {
    type Error = TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Self, TryFromSliceError> {
        let bytes: &[u8; KEY_BYTES] = bytes.try_into()?;
        let mut key = Self::blank();
        key.0.copy_from_slice(bytes);
        Ok(key)
    }
}

impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(…)")
    }
}

impl SealingKey {
    /// Returns the key of these bytes.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn new(bytes: &KeyBytes) -> Result<Self, SealError> {
        RandomizedNonceKey::new(&AES_256_GCM, bytes.expose()).map(Self).map_err(|_| SealError)
    }

    /// Seals a message in place, so that no plaintext is left. `context` is what the message belongs to: it is not part of the result,
    /// and only the same context opens it.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn seal(&self, context: &[u8], mut plaintext: Zeroizing<Vec<u8>>) -> Result<Sealed, SealError> {
        let message = &mut *plaintext;
        let (nonce, tag) = self.0.seal_in_place_separate_tag(Aad::from(context), message).map_err(|_| SealError)?;
        // From here on it is ciphertext.
        let mut ciphertext = std::mem::take(message);
        ciphertext.extend_from_slice(tag.as_ref());
        Ok(Sealed { nonce: *nonce.as_ref(), ciphertext })
    }

    /// Opens a message that was sealed with the same context.
    ///
    /// # Errors
    /// The message, the context or the key is another.
    pub fn open(&self, context: &[u8], sealed: Sealed) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let mut message = Zeroizing::new(sealed.ciphertext);
        let nonce = Nonce::assume_unique_for_key(sealed.nonce);
        let opened = self.0.open_in_place(nonce, Aad::from(context), &mut message).map_err(|_| OpenError)?;
        let length = opened.len();
        message.truncate(length);
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> SealingKey {
        SealingKey::new(&KeyBytes::random().expect("randomness")).expect("a key")
    }

    fn sealed(key: &SealingKey, context: &[u8], message: &[u8]) -> Sealed {
        key.seal(context, Zeroizing::new(message.to_vec())).expect("a sealed message")
    }

    #[test]
    fn message_opens_with_its_key_and_context_only() {
        let key = key();
        let message = b"AWS:a-password-that-is-secret";
        let one = sealed(&key, b"slot 1", message);
        assert_eq!(one.ciphertext.len(), message.len() + TAG_BYTES);
        assert!(!one.ciphertext.windows(8).any(|part| message.windows(8).any(|secret| secret == part)));
        assert_eq!(key.open(b"slot 1", one.clone()).expect("the message").as_slice(), message);
        assert_eq!(key.open(b"slot 2", one.clone()), Err(OpenError));
        assert_eq!(self::key().open(b"slot 1", one.clone()), Err(OpenError));
        let again = sealed(&key, b"slot 1", message);
        assert!(again.nonce != one.nonce && again.ciphertext != one.ciphertext, "each message has its own nonce");
    }

    #[test]
    fn p10_keys_are_not_printed() {
        let bytes = KeyBytes::random().expect("randomness");
        let key = SealingKey::new(&bytes).expect("a key");
        assert_eq!(format!("{bytes:?} {key:?}"), "[redacted] SealingKey(…)");
    }

    #[test]
    fn changed_message_never_opens() {
        let message = proptest::collection::vec(any::<u8>(), 0..200);
        proptest!(|(message in message, at in any::<usize>(), bit in 0..8)| {
            let key = key();
            let whole = sealed(&key, b"", &message);
            let mut changed = whole.clone();
            let at = at % (NONCE_BYTES + changed.ciphertext.len());
            match changed.nonce.get_mut(at) {
                Some(byte) => *byte ^= 1_u8 << bit,
                None => changed.ciphertext[at - NONCE_BYTES] ^= 1_u8 << bit,
            }
            prop_assert_eq!(key.open(b"", changed), Err(OpenError));
            let mut short = whole.clone();
            short.ciphertext.truncate(at.min(short.ciphertext.len() - 1));
            prop_assert_eq!(key.open(b"", short), Err(OpenError));
            prop_assert_eq!(key.open(b"", whole).expect("the message").to_vec(), message);
        });
    }
}
