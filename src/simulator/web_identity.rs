//! Tokens by which an identity of IAM proves to others who it is: `GetWebIdentityToken`, with keys of the simulated AWS's own, and the
//! documents in which others find them.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::query::Form;
use super::role::{constraint, required};
use super::simulated_aws::{AuthenticatedCall, SimulatedAws};
use crate::aws_wire::{Answer, Call, Refusal};

const DURATIONS: RangeInclusive<u64> = 60..=3600;
const DEFAULT_DURATION: u64 = 300;
const MOST_AUDIENCES: usize = 10;
const LONGEST_AUDIENCE: usize = 1000;
/// The coordinates of a point on P-384.
const COORDINATE: usize = 48;

/// The keys of the issuer; they are made when they are first needed.
#[derive(Default)]
pub(super) struct Keys(OnceLock<Option<Pairs>>);

struct Pairs {
    es384: EcdsaKeyPair,
    rs256: rsa::KeyPair,
}

/// A token, and its end.
pub(super) struct Token {
    pub(super) text: String,
    pub(super) end: SystemTime,
}

/// Who calls, signed for the audience that it names.
pub(super) fn token(world: &SimulatedAws, arrival: &AuthenticatedCall, form: &Form) -> Result<Token, Refusal> {
    let audiences = audiences(form)?;
    let algorithm = required(form, "SigningAlgorithm")?;
    let duration = duration(form)?;
    let now = world.now();
    let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let subject = &arrival.principal.role_arn;
    let claims = json!({
        "iss": arrival.endpoint,
        "sub": subject,
        "aud": if let [one] = audiences.as_slice() { json!(one) } else { json!(audiences) },
        "iat": seconds(now),
        "exp": seconds(now + duration),
        "jti": format!("{:032x}", fastrand::u128(..)),
        "https://sts.amazonaws.com/": {
            "aws_account": arrival.principal.account.to_string(),
            "source_region": arrival.region_name(),
            "principal_id": subject,
        },
    });
    let text = world.web_identity_keys().sign(algorithm, &claims)?;
    Ok(Token { text, end: now + duration })
}

fn audiences(form: &Form) -> Result<Vec<&str>, Refusal> {
    let numbered = (1..=MOST_AUDIENCES + 1).map_while(|number| form.get(&format!("Audience.member.{number}")));
    let audiences: Vec<_> = numbered.collect();
    let each = audiences.iter().all(|audience| (1..=LONGEST_AUDIENCE).contains(&audience.len()));
    if !(1..=MOST_AUDIENCES).contains(&audiences.len()) || !each {
        return Err(constraint("Audience", "Member must have 1 to 10 texts of 1 to 1000 characters"));
    }
    Ok(audiences)
}

fn duration(form: &Form) -> Result<Duration, Refusal> {
    let Some(text) = form.get("DurationSeconds") else { return Ok(Duration::from_secs(DEFAULT_DURATION)) };
    let seconds = text.parse().ok().filter(|seconds| DURATIONS.contains(seconds));
    let problem = || constraint("DurationSeconds", "Member must have value between 60 and 3600");
    seconds.map(Duration::from_secs).ok_or_else(problem)
}

/// What others ask for to verify a token; none of it needs a signature.
pub(super) fn document(world: &SimulatedAws, call: &Call) -> Option<Answer> {
    let endpoint = call.endpoint();
    let document = match call.head.uri.path() {
        "/.well-known/openid-configuration" => json!({
            "issuer": endpoint,
            "jwks_uri": format!("{endpoint}/.well-known/jwks.json"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES384"],
        }),
        "/.well-known/jwks.json" => world.web_identity_keys().public()?,
        _ => return None,
    };
    Some(Answer::answered("application/json", document.to_string()))
}

impl Keys {
    fn pairs(&self) -> Option<&Pairs> {
        self.0.get_or_init(Pairs::new).as_ref()
    }

    fn public(&self) -> Option<Value> {
        let pairs = self.pairs()?;
        let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let point = pairs.es384.public_key().as_ref().strip_prefix(&[4])?;
        let (x, y) = point.split_at_checked(COORDINATE)?;
        let rsa = pairs.rs256.public_key();
        let (n, e) = (rsa.modulus(), rsa.exponent());
        let (n, e) = (n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero());
        Some(json!({"keys": [
            {"kty": "EC", "crv": "P-384", "use": "sig", "alg": "ES384", "kid": "ES384", "x": encode(x), "y": encode(y)},
            {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "RS256", "n": encode(n), "e": encode(e)},
        ]}))
    }

    fn sign(&self, algorithm: &str, claims: &Value) -> Result<String, Refusal> {
        let encode = |json: &Value| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
        let header = json!({"alg": algorithm, "kid": algorithm, "typ": "JWT"});
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let random = SystemRandom::new();
        let broken = || Refusal::bad_request("InternalFailure", "The simulated AWS cannot sign");
        let pairs = self.pairs().ok_or_else(broken)?;
        let signature = match algorithm {
            "ES384" => {
                let signature = pairs.es384.sign(&random, signed.as_bytes()).map_err(|_| broken())?;
                signature.as_ref().to_vec()
            }
            "RS256" => {
                let mut signature = vec![0; pairs.rs256.public_modulus_len()];
                let made = pairs.rs256.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature);
                made.map_err(|_| broken())?;
                signature
            }
            _ => return Err(constraint("SigningAlgorithm", "Member must be RS256 or ES384")),
        };
        Ok(format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature)))
    }
}

impl Pairs {
    fn new() -> Option<Self> {
        let es384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).ok()?;
        Some(Self { es384, rs256: rsa::KeyPair::generate(KeySize::Rsa2048).ok()? })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}
