//! An issuer's public keys.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// More keys than any issuer has.
const MOST_KEYS: usize = 64;
/// A modulus of 2,048 bits.
const SHORTEST_RSA: usize = 256;

/// The keys of one issuer, by their ids. Keys of different issuers are never in one set.
#[derive(Debug, Clone, Default)]
pub struct KeySet(BTreeMap<String, Key>);

/// A key, and what it may verify.
#[derive(Clone)]
pub(super) struct Key {
    public: DecodingKey,
    algorithms: Vec<Algorithm>,
    digest: [u8; 32],
}

/// Which key it was, without the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyMark {
    id: Box<str>,
    digest: [u8; 32],
}

/// Why there are no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// The file cannot be used.
    #[error("{} {problem}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The certificates to trust for the issuer cannot be used.
    #[error("the CA bundle {} {problem}", path.display())]
    CaBundle {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// Not a set of keys.
    #[error("it is no JSON Web Key Set of at most {MOST_KEYS} keys")]
    Malformed,
    /// None that could verify a token.
    #[error(
        "it has no key that can be used: those have a kid, and are RSA of 2,048 bits at least, P-256, P-384 or Ed25519, for signatures"
    )]
    NoneUsable,
}

#[derive(Deserialize)]
struct Raw {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// The keys that can be used, of a set as RFC 7517 has it.
    ///
    /// # Errors
    /// Where it is none.
    pub fn read(json: &[u8]) -> Result<Self, KeySetError> {
        let Raw { keys } = serde_json::from_slice(json).map_err(|_| KeySetError::Malformed)?;
        if keys.len() > MOST_KEYS {
            return Err(KeySetError::Malformed);
        }
        let (mut set, mut twice) = (BTreeMap::new(), Vec::new());
        for (id, key) in keys.into_iter().filter_map(read_key) {
            if set.insert(id.clone(), key).is_some() {
                twice.push(id);
            }
        }
        // With two keys of one id it is not known which is meant.
        set.retain(|id, _| !twice.contains(id));
        Ok(Self(set))
    }

    /// Whether nothing can be verified with it: an issuer may take all its keys away.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Key> {
        self.0.get(id)
    }

    /// Whether a key is in it still, whatever others have come and gone.
    pub(super) fn has(&self, mark: &KeyMark) -> bool {
        self.0.get(&*mark.id).is_some_and(|key| key.digest == mark.digest)
    }
}

/// One that is for something else than signatures of ours is passed over.
fn read_key(json: serde_json::Value) -> Option<(String, Key)> {
    let jwk: Jwk = serde_json::from_value(json).ok()?;
    let common = &jwk.common;
    let for_signatures = common.public_key_use.as_ref().is_none_or(|own| *own == PublicKeyUse::Signature)
        && common.key_operations.as_ref().is_none_or(|own| own.contains(&KeyOperations::Verify));
    let mut algorithms = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) if modulus_length(&rsa.n)? >= SHORTEST_RSA => {
            vec![Algorithm::RS256, Algorithm::PS256]
        }
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => vec![Algorithm::ES256],
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P384 => vec![Algorithm::ES384],
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => vec![Algorithm::EdDSA],
        _ => return None,
    };
    if let Some(own) = common.key_algorithm {
        algorithms.retain(|algorithm| KeyAlgorithm::from(*algorithm) == own);
    }
    let public = DecodingKey::from_jwk(&jwk).ok()?;
    let digest = Sha256::digest(serde_json::to_vec(&(&jwk.algorithm, &algorithms)).ok()?).into();
    let id = jwk.common.key_id.filter(|_| for_signatures && !algorithms.is_empty())?;
    Some((id, Key { public, algorithms, digest }))
}

fn modulus_length(n: &str) -> Option<usize> {
    let modulus = BASE64URL_NOPAD.decode(n.as_bytes()).ok()?;
    Some(modulus.iter().skip_while(|byte| **byte == 0).count())
}

impl Key {
    /// By the id that it has in its set.
    pub(super) fn mark(&self, id: &str) -> KeyMark {
        KeyMark { id: id.into(), digest: self.digest }
    }

    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    pub(super) fn verify(&self, signature: &str, signed: &[u8], algorithm: Algorithm) -> bool {
        jsonwebtoken::crypto::verify(signature, signed, &self.public, algorithm).unwrap_or(false)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}
