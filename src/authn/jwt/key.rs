//! Public keys.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use sha2::{Digest as _, Sha256};

use super::rejected::TokenRejected;
use super::token_parts::TokenParts;

/// Minimum length of an RSA modulus, in bytes: 2,048 bits.
const MIN_RSA_BYTES: usize = 256;

/// A public key, and the algorithms that it may verify.
#[derive(Clone)]
pub(super) struct Key {
    public: DecodingKey,
    algorithms: Vec<Algorithm>,
    digest: [u8; 32],
}

/// ID and digest of a key, for comparison without the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyFingerprint {
    pub(super) id: Box<str>,
    digest: [u8; 32],
}

#[cfg(test)]
impl KeyFingerprint {
    /// Returns the fingerprint of a key that does not exist.
    pub(super) fn of_test(id: &str) -> Self {
        Self { id: id.into(), digest: [0; 32] }
    }
}

impl Key {
    /// Reads a key and its ID; `None` if it cannot verify signatures of tokens.
    pub(super) fn read(json: serde_json::Value) -> Option<(String, Self)> {
        let jwk: Jwk = serde_json::from_value(json).ok()?;
        let mut algorithms = algorithms_of(&jwk.algorithm)?;
        if let Some(only) = jwk.common.key_algorithm {
            algorithms.retain(|algorithm| KeyAlgorithm::from(*algorithm) == only);
        }
        let public = DecodingKey::from_jwk(&jwk).ok()?;
        let digest = Sha256::digest(serde_json::to_vec(&(&jwk.algorithm, &algorithms)).ok()?).into();
        let usable = is_for_signatures(&jwk.common) && !algorithms.is_empty();
        let id = jwk.common.key_id.filter(|_| usable)?;
        Some((id, Self { public, algorithms, digest }))
    }

    /// Returns the fingerprint of the key under the ID that it has in its set.
    pub(super) fn fingerprint(&self, id: &str) -> KeyFingerprint {
        KeyFingerprint { id: id.into(), digest: self.digest }
    }

    pub(super) fn matches(&self, fingerprint: &KeyFingerprint) -> bool {
        self.digest == fingerprint.digest
    }

    /// Verifies the signature of a token.
    pub(super) fn verify(&self, token: &TokenParts<'_>, algorithm: Algorithm) -> Result<(), TokenRejected> {
        if !self.algorithms.contains(&algorithm) {
            return Err(TokenRejected::KeyMismatch);
        }
        match jsonwebtoken::crypto::verify(token.signature, token.signed.as_bytes(), &self.public, algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(TokenRejected::Signature),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

/// Returns the algorithms of a kind of key; `None` for weak and unknown kinds.
fn algorithms_of(parameters: &AlgorithmParameters) -> Option<Vec<Algorithm>> {
    match parameters {
        AlgorithmParameters::RSA(rsa) if modulus_bytes(&rsa.n)? >= MIN_RSA_BYTES => {
            Some(vec![Algorithm::RS256, Algorithm::PS256])
        }
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => Some(vec![Algorithm::ES256]),
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P384 => Some(vec![Algorithm::ES384]),
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Some(vec![Algorithm::EdDSA]),
        _ => None,
    }
}

fn is_for_signatures(common: &CommonParameters) -> bool {
    common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature)
        && common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify))
}

fn modulus_bytes(n: &str) -> Option<usize> {
    let modulus = BASE64URL_NOPAD.decode(n.as_bytes()).ok()?;
    Some(modulus.iter().skip_while(|byte| **byte == 0).count())
}
