//! The header of a token: its key and its algorithm.

use jsonwebtoken::Algorithm;
use serde::Deserialize;

use super::rejected::TokenRejected;

/// Longest accepted key ID; no issuer has longer ones.
const MAX_KEY_ID_BYTES: usize = 256;

/// The header of a token.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: String,
}

/// The fields that a header may have. Any other field is rejected, such as `crit` and those that say where to get a key (`jku`, `jwk`,
/// `x5u`, `x5c`). `x5t`, the thumbprint of the key, is allowed because GitHub sends it; it is ignored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeader {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(rename = "x5t")]
    _thumbprint: Option<String>,
    #[serde(rename = "x5t#S256")]
    _thumbprint_sha256: Option<String>,
}

impl Header {
    pub(super) fn read(json: &[u8]) -> Result<Self, TokenRejected> {
        // serde would accept an array for a struct, too.
        if json.first() != Some(&b'{') {
            return Err(TokenRejected::Header);
        }
        let raw: RawHeader = serde_json::from_slice(json).map_err(|_| TokenRejected::Header)?;
        if raw.typ.is_some_and(|typ| !["JWT", "JOSE"].iter().any(|known| typ.eq_ignore_ascii_case(known))) {
            return Err(TokenRejected::Header);
        }
        let algorithm = algorithm(&raw.alg).ok_or(TokenRejected::Algorithm)?;
        let key_id = raw.kid.filter(|kid| (1..=MAX_KEY_ID_BYTES).contains(&kid.len()));
        Ok(Self { algorithm, key_id: key_id.ok_or(TokenRejected::NoKeyId)? })
    }
}

fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "RS256" => Some(Algorithm::RS256),
        "PS256" => Some(Algorithm::PS256),
        "ES256" => Some(Algorithm::ES256),
        "ES384" => Some(Algorithm::ES384),
        "EdDSA" => Some(Algorithm::EdDSA),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_public_key_algorithms_are_allowed_and_no_other() {
        let read = |algorithm: &str| {
            let json = format!(r#"{{"alg":"{algorithm}","kid":"k"}}"#);
            Header::read(json.as_bytes()).map(|header| header.algorithm)
        };
        for (name, algorithm) in [
            ("RS256", Algorithm::RS256),
            ("PS256", Algorithm::PS256),
            ("ES256", Algorithm::ES256),
            ("ES384", Algorithm::ES384),
            ("EdDSA", Algorithm::EdDSA),
        ] {
            assert_eq!(read(name), Ok(algorithm), "{name}");
        }
        for name in ["none", "HS256", "HS384", "HS512", "RS384", "RS512", "PS384", "ES512", "es256", ""] {
            assert_eq!(read(name), Err(TokenRejected::Algorithm), "{name:?}");
        }
    }
}
