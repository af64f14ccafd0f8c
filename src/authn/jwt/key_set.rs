//! JSON Web Key Sets (RFC 7517).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::key::{Key, KeyFingerprint};

/// Maximum number of keys in a set. No issuer has this many.
const MAX_KEYS: usize = 64;

/// The keys of one issuer, by their IDs. Keys of different issuers are never in one set.
#[derive(Debug, Clone, Default)]
pub struct KeySet(BTreeMap<String, Key>);

/// Why keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// The key file cannot be used.
    #[error("{} {problem}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        problem: String,
    },
    /// The CA bundle of the issuer cannot be used.
    #[error("the CA bundle {} {problem}", path.display())]
    CaBundle {
        /// The file.
        path: PathBuf,
        /// The reason.
        problem: String,
    },
    /// The HTTP client cannot be built.
    #[error("the HTTP client for an issuer's keys cannot be built: {0}")]
    HttpClient(String),
    /// Not a key set.
    #[error("expected a JSON Web Key Set of at most {MAX_KEYS} keys")]
    Malformed,
    /// No key that could verify a token.
    #[error("no usable key; add one with a kid and use sig: RSA of at least 2,048 bits, P-256, P-384 or Ed25519")]
    NoneUsable,
}

#[derive(Deserialize)]
struct RawKeySet {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads a key set. Keys that cannot verify tokens are skipped.
    ///
    /// # Errors
    /// If it is not a key set.
    pub fn read(json: &[u8]) -> Result<Self, KeySetError> {
        let RawKeySet { keys } = serde_json::from_slice(json).map_err(|_| KeySetError::Malformed)?;
        if keys.len() > MAX_KEYS {
            return Err(KeySetError::Malformed);
        }
        let (mut set, mut duplicates) = (BTreeMap::new(), Vec::new());
        for (id, key) in keys.into_iter().filter_map(Key::read) {
            if set.insert(id.clone(), key).is_some() {
                duplicates.push(id);
            }
        }
        // A token that names a duplicate ID does not tell which of the keys signed it.
        set.retain(|id, _| !duplicates.contains(id));
        Ok(Self(set))
    }

    /// Returns whether the set has no key. An issuer may withdraw all its keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Key> {
        self.0.get(id)
    }

    /// Returns whether the set still has a key, even if other keys have changed.
    pub(super) fn has(&self, fingerprint: &KeyFingerprint) -> bool {
        self.0.get(&*fingerprint.id).is_some_and(|key| key.matches(fingerprint))
    }
}
