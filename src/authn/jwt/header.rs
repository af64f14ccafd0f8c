//! A token's header: which key, and which algorithm.

use jsonwebtoken::Algorithm;
use serde::Deserialize;

use super::Refusal;

/// Longer key ids are nobody's.
const LONGEST_KEY_ID: usize = 256;

/// What is taken of a header.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: String,
}

/// What may be in a header: `crit`, and all that says where a key is to be had (`jku`, `jwk`, `x5u`, `x5c`), is refused with all
/// that is not known. GitHub sends the key's thumbprint, of which no use is made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(rename = "x5t")]
    _thumbprint: Option<String>,
    #[serde(rename = "x5t#S256")]
    _thumbprint_sha256: Option<String>,
}

impl Header {
    pub(super) fn read(json: &[u8]) -> Result<Self, Refusal> {
        // Of an array serde would make the same.
        if json.first() != Some(&b'{') {
            return Err(Refusal::Header);
        }
        let raw: Raw = serde_json::from_slice(json).map_err(|_| Refusal::Header)?;
        if raw.typ.is_some_and(|typ| !["JWT", "JOSE"].iter().any(|known| typ.eq_ignore_ascii_case(known))) {
            return Err(Refusal::Header);
        }
        let algorithm = match raw.alg.as_str() {
            "RS256" => Algorithm::RS256,
            "PS256" => Algorithm::PS256,
            "ES256" => Algorithm::ES256,
            "ES384" => Algorithm::ES384,
            "EdDSA" => Algorithm::EdDSA,
            _ => return Err(Refusal::Algorithm),
        };
        let key_id = raw.kid.filter(|kid| (1..=LONGEST_KEY_ID).contains(&kid.len())).ok_or(Refusal::NoKeyId)?;
        Ok(Self { algorithm, key_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_five_algorithms_of_public_keys_are_taken_and_no_other() {
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
            assert_eq!(read(name), Err(Refusal::Algorithm), "{name:?}");
        }
    }
}
