//! The signing keys of the simulated AWS as an issuer of web identity tokens.

use std::fmt;
use std::sync::OnceLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::parameter::constraint;
use crate::aws_wire::AwsError;

/// The length of a coordinate on P-384.
const COORDINATE_BYTES: usize = 48;

/// The issuer's keys, generated at first use.
#[derive(Default)]
pub(super) struct IssuerKeys(OnceLock<Option<KeyPairs>>);

struct KeyPairs {
    es384: EcdsaKeyPair,
    rs256: rsa::KeyPair,
}

impl IssuerKeys {
    fn pairs(&self) -> Option<&KeyPairs> {
        self.0.get_or_init(KeyPairs::new).as_ref()
    }

    /// Returns the public keys as a JSON Web Key Set.
    pub(super) fn public_keys(&self) -> Option<Value> {
        let pairs = self.pairs()?;
        let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let point = pairs.es384.public_key().as_ref().strip_prefix(&[4])?;
        let (x, y) = point.split_at_checked(COORDINATE_BYTES)?;
        let rsa = pairs.rs256.public_key();
        let (n, e) = (rsa.modulus(), rsa.exponent());
        let (n, e) = (n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero());
        Some(json!({"keys": [
            {"kty": "EC", "crv": "P-384", "use": "sig", "alg": "ES384", "kid": "ES384", "x": encode(x), "y": encode(y)},
            {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "RS256", "n": encode(n), "e": encode(e)},
        ]}))
    }

    /// Signs claims as a JSON Web Token.
    pub(super) fn sign(&self, algorithm: &str, claims: &Value) -> Result<String, AwsError> {
        let encode = |json: &Value| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
        let header = json!({"alg": algorithm, "kid": algorithm, "typ": "JWT"});
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let random = SystemRandom::new();
        let failed = || AwsError::bad_request("InternalFailure", "The simulated AWS failed to sign");
        let pairs = self.pairs().ok_or_else(failed)?;
        let signature = match algorithm {
            "ES384" => {
                let signature = pairs.es384.sign(&random, signed.as_bytes()).map_err(|_| failed())?;
                signature.as_ref().to_vec()
            }
            "RS256" => {
                let mut signature = vec![0; pairs.rs256.public_modulus_len()];
                let made = pairs.rs256.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature);
                made.map_err(|_| failed())?;
                signature
            }
            _ => return Err(constraint("SigningAlgorithm", "Member must be RS256 or ES384")),
        };
        Ok(format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature)))
    }
}

impl KeyPairs {
    fn new() -> Option<Self> {
        let es384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).ok()?;
        Some(Self { es384, rs256: rsa::KeyPair::generate(KeySize::Rsa2048).ok()? })
    }
}

impl fmt::Debug for IssuerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IssuerKeys")
    }
}
