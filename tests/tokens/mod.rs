//! Tokens of a test issuer: a valid one, and a table of invalid ones.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "each test file uses a part"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use ecr_broker::authn::jwt::{Issuers, KeyLocation, Settings, TokenRejected};
use ecr_broker::clock::Clock;
use ecr_broker::proxy::Proxies;
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::KeyPair;

pub const ISSUER: &str = "https://issuer.example";
pub const AUDIENCE: &str = "ecr-broker";
pub const SUBJECT: &str = "system:serviceaccount:ci:runner";

/// The key of an issuer.
pub struct Signer {
    key: KeyPair,
    pub kid: String,
}

/// A token, and the expected result of its verification.
pub struct Case {
    pub name: &'static str,
    pub token: String,
    pub expected: Result<(), TokenRejected>,
}

/// Returns one issuer, `blue`, whose keys are in a file in `directory`.
pub fn issuers(signer: &Signer, directory: &Path, clock: Arc<dyn Clock>) -> Arc<Issuers> {
    let file = directory.join("jwks.json");
    std::fs::write(&file, signer.jwks()).unwrap();
    let settings = Settings {
        name: "blue".to_owned(),
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        keys: KeyLocation::File(file),
        ca_bundle: None,
        proxies: Proxies::default(),
        max_lifetime: Duration::from_hours(1),
    };
    Arc::new(Issuers::load(vec![settings], clock).unwrap())
}

/// Returns a request with a bearer token.
pub fn bearing<T>(token: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// Returns the seconds since 1970.
pub fn seconds(clock: &dyn Clock) -> u64 {
    clock.now().wall.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

impl Signer {
    pub fn new(kid: &str) -> Self {
        Self { key: KeyPair::generate().unwrap(), kid: kid.to_owned() }
    }

    /// Returns the public key, with additional fields.
    pub fn jwk(&self, more: &str) -> String {
        let point = self.key.public_key_raw();
        let coordinate = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let (x, y) = (coordinate(&point[1..33]), coordinate(&point[33..65]));
        let kid = &self.kid;
        format!(r#"{{"kty":"EC","crv":"P-256","kid":"{kid}","x":"{x}","y":"{y}"{more}}}"#)
    }

    pub fn jwks(&self) -> String {
        format!(r#"{{"keys":[{}]}}"#, self.jwk(r#","use":"sig","alg":"ES256""#))
    }

    /// Returns a token with this header and these claims, valid or not.
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let key = EncodingKey::from_ec_der(&self.key.serialize_der());
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::ES256).unwrap();
        format!("{signed}.{signature}")
    }

    pub fn header(&self) -> String {
        format!(r#"{{"alg":"ES256","kid":"{}","typ":"JWT"}}"#, self.kid)
    }

    /// Returns a valid token.
    pub fn token(&self, issuer: &str, subject: &str, now: u64) -> String {
        let claims =
            format!(r#"{{"iss":"{issuer}","sub":"{subject}","aud":"{AUDIENCE}","iat":{now},"exp":{}}}"#, now + 600);
        self.sign(&self.header(), &claims)
    }
}

/// Returns valid claims in which one field is replaced or removed.
fn claims(now: u64, field: &str, value: Option<&str>) -> String {
    let (iat, exp) = (now.to_string(), (now + 600).to_string());
    let quoted = |text: &str| format!("{text:?}");
    let good =
        [("iss", quoted(ISSUER)), ("sub", quoted(SUBJECT)), ("aud", quoted(AUDIENCE)), ("iat", iat), ("exp", exp)];
    let mut fields: Vec<_> = good.into_iter().filter(|(name, _)| *name != field).collect();
    fields.extend(value.map(|value| (field, value.to_owned())));
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// The table. `other` is not a key of the issuer.
#[expect(clippy::too_many_lines, reason = "it is a table")]
pub fn cases(signer: &Signer, other: &Signer, now: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name, token: String, expected| cases.push(Case { name, token, expected });
    let good = claims(now, "", None);
    let header = signer.header();
    let token = signer.sign(&header, &good);
    let (head, rest) = token.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());

    add("a good one", token.clone(), Ok(()));
    add("nothing", String::new(), Err(TokenRejected::Malformed));
    add("a word", "token".into(), Err(TokenRejected::Malformed));
    add("dots", "..".into(), Err(TokenRejected::Malformed));
    add("two parts", format!("{head}.{body}"), Err(TokenRejected::Malformed));
    add("four parts", format!("{token}.{signature}"), Err(TokenRejected::Malformed));
    add("five parts, as an encrypted one has", format!("{token}.{body}.{signature}"), Err(TokenRejected::Malformed));
    add("no header", format!(".{body}.{signature}"), Err(TokenRejected::Malformed));
    add("no claims", format!("{head}..{signature}"), Err(TokenRejected::Malformed));
    add("no signature", format!("{head}.{body}."), Err(TokenRejected::Malformed));
    add("padding", format!("{head}=.{body}.{signature}"), Err(TokenRejected::Malformed));
    add("padding of the signature", format!("{token}=="), Err(TokenRejected::Malformed));
    add("base64 of the other alphabet", format!("{head}.{body}.++//"), Err(TokenRejected::Malformed));
    add("a space", format!("{head}. {body}.{signature}"), Err(TokenRejected::Malformed));
    add("a line's end", format!("{head}.{body}\n.{signature}"), Err(TokenRejected::Malformed));
    add(
        "too large",
        signer.sign(&header, &claims(now, "x", Some(&format!("{:?}", "x".repeat(8192))))),
        Err(TokenRejected::Malformed),
    );

    let with = |header: &str| signer.sign(header, &good);
    let kid = &signer.kid;
    for (name, header, expected) in [
        ("alg none", format!(r#"{{"alg":"none","kid":"{kid}"}}"#), TokenRejected::Algorithm),
        ("alg None", format!(r#"{{"alg":"None","kid":"{kid}"}}"#), TokenRejected::Algorithm),
        ("alg HS256", format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#), TokenRejected::Algorithm),
        ("alg HS512", format!(r#"{{"alg":"HS512","kid":"{kid}"}}"#), TokenRejected::Algorithm),
        ("alg RS1", format!(r#"{{"alg":"RS1","kid":"{kid}"}}"#), TokenRejected::Algorithm),
        ("alg ES256K", format!(r#"{{"alg":"ES256K","kid":"{kid}"}}"#), TokenRejected::Algorithm),
        ("alg in lower case", format!(r#"{{"alg":"es256","kid":"{kid}"}}"#), TokenRejected::Algorithm),
        ("alg empty", format!(r#"{{"alg":"","kid":"{kid}"}}"#), TokenRejected::Algorithm),
        ("alg RS256 with an EC key", format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#), TokenRejected::KeyMismatch),
        ("alg ES384 with a P-256 key", format!(r#"{{"alg":"ES384","kid":"{kid}"}}"#), TokenRejected::KeyMismatch),
        ("alg EdDSA with an EC key", format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#), TokenRejected::KeyMismatch),
        ("no alg", format!(r#"{{"kid":"{kid}"}}"#), TokenRejected::Header),
        ("alg a number", format!(r#"{{"alg":256,"kid":"{kid}"}}"#), TokenRejected::Header),
        ("alg twice", format!(r#"{{"alg":"ES256","alg":"none","kid":"{kid}"}}"#), TokenRejected::Header),
        ("kid twice", format!(r#"{{"alg":"ES256","kid":"{kid}","kid":"x"}}"#), TokenRejected::Header),
        ("no kid", r#"{"alg":"ES256"}"#.into(), TokenRejected::NoKeyId),
        ("kid null", r#"{"alg":"ES256","kid":null}"#.into(), TokenRejected::NoKeyId),
        ("kid empty", r#"{"alg":"ES256","kid":""}"#.into(), TokenRejected::NoKeyId),
        ("kid a number", r#"{"alg":"ES256","kid":1}"#.into(), TokenRejected::Header),
        ("kid a path", r#"{"alg":"ES256","kid":"../../dev/null"}"#.into(), TokenRejected::KeyUnknown),
        ("kid an injection", r#"{"alg":"ES256","kid":"' or 1=1 --"}"#.into(), TokenRejected::KeyUnknown),
        ("unknown kid", r#"{"alg":"ES256","kid":"unknown"}"#.into(), TokenRejected::KeyUnknown),
        ("crit", format!(r#"{{"alg":"ES256","kid":"{kid}","crit":["exp"]}}"#), TokenRejected::Header),
        ("crit empty", format!(r#"{{"alg":"ES256","kid":"{kid}","crit":[]}}"#), TokenRejected::Header),
        ("b64", format!(r#"{{"alg":"ES256","kid":"{kid}","b64":false}}"#), TokenRejected::Header),
        ("zip", format!(r#"{{"alg":"ES256","kid":"{kid}","zip":"DEF"}}"#), TokenRejected::Header),
        ("jku", format!(r#"{{"alg":"ES256","kid":"{kid}","jku":"https://evil.example/jwks"}}"#), TokenRejected::Header),
        ("jwk", format!(r#"{{"alg":"ES256","kid":"{kid}","jwk":{}}}"#, other.jwk("")), TokenRejected::Header),
        ("x5u", format!(r#"{{"alg":"ES256","kid":"{kid}","x5u":"https://evil.example/c"}}"#), TokenRejected::Header),
        ("x5c", format!(r#"{{"alg":"ES256","kid":"{kid}","x5c":["MII"]}}"#), TokenRejected::Header),
        ("another typ", format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"at+jwt"}}"#), TokenRejected::Header),
        ("a header that is a list", format!(r#"["ES256","{kid}","JWT",null,null]"#), TokenRejected::Header),
        ("a header that is a text", r#""ES256""#.into(), TokenRejected::Header),
        ("a header that is not JSON", "{alg:ES256}".into(), TokenRejected::Header),
        ("more after the header", format!("{header}{{}}"), TokenRejected::Header),
    ] {
        add(name, with(&header), Err(expected));
    }
    add(
        "a thumbprint, as GitHub sends it",
        with(&format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"JWT","x5t":"{kid}"}}"#)),
        Ok(()),
    );
    add("no typ", with(&format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#)), Ok(()));

    add("another key's signature", other.sign(&header, &good), Err(TokenRejected::Signature));
    add(
        "a signature of zeros",
        format!("{head}.{body}.{}", BASE64URL_NOPAD.encode(&[0; 64])),
        Err(TokenRejected::Signature),
    );
    add("half a signature", format!("{head}.{body}.{}", &signature[..40]), Err(TokenRejected::Signature));
    let changed = encode(&good.replace("runner", "admin"));
    add("claims that were changed", format!("{head}.{changed}.{signature}"), Err(TokenRejected::Signature));
    let changed = encode(&format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#));
    add("a header that was changed", format!("{changed}.{body}.{signature}"), Err(TokenRejected::Signature));

    let text = |text: &str| format!("{text:?}");
    let at = |seconds: u64| seconds.to_string();
    for (name, field, value, expected) in [
        ("no issuer", "iss", None, Some(TokenRejected::Claims)),
        ("another issuer", "iss", Some(text("https://evil.example")), Some(TokenRejected::Issuer)),
        ("the issuer and a slash", "iss", Some(text("https://issuer.example/")), Some(TokenRejected::Issuer)),
        ("the issuer in upper case", "iss", Some(text("https://ISSUER.example")), Some(TokenRejected::Issuer)),
        ("a list of issuers", "iss", Some(format!("[{ISSUER:?}]")), Some(TokenRejected::Claims)),
        ("an issuer that is null", "iss", Some("null".into()), Some(TokenRejected::Claims)),
        ("no audience", "aud", None, Some(TokenRejected::Claims)),
        ("another audience", "aud", Some(text("sts.amazonaws.com")), Some(TokenRejected::Audience)),
        ("the audience in upper case", "aud", Some(text("ECR-BROKER")), Some(TokenRejected::Audience)),
        ("an empty audience", "aud", Some(text("")), Some(TokenRejected::Audience)),
        ("no audience in a list", "aud", Some("[]".into()), Some(TokenRejected::Audience)),
        ("one more audience", "aud", Some(format!("[{AUDIENCE:?},\"other\"]")), Some(TokenRejected::Audience)),
        ("the audience twice", "aud", Some(format!("[{AUDIENCE:?},{AUDIENCE:?}]")), Some(TokenRejected::Audience)),
        ("an audience that is an object", "aud", Some("{}".into()), Some(TokenRejected::Claims)),
        ("a list with a number", "aud", Some(format!("[{AUDIENCE:?},1]")), Some(TokenRejected::Claims)),
        ("the audience in a list", "aud", Some(format!("[{AUDIENCE:?}]")), None),
        ("no subject", "sub", None, Some(TokenRejected::Claims)),
        ("an empty subject", "sub", Some(text("")), Some(TokenRejected::Subject)),
        ("a subject that is a number", "sub", Some("1".into()), Some(TokenRejected::Claims)),
        ("a subject of two lines", "sub", Some(r#""a\nb""#.into()), Some(TokenRejected::Subject)),
        ("a subject of 513 bytes", "sub", Some(text(&"x".repeat(513))), Some(TokenRejected::Subject)),
        ("no expiry", "exp", None, Some(TokenRejected::Claims)),
        ("an expiry that is a text", "exp", Some(text("9999999999")), Some(TokenRejected::Claims)),
        ("an expiry that is null", "exp", Some("null".into()), Some(TokenRejected::Claims)),
        ("an expiry before 1970", "exp", Some("-1".into()), Some(TokenRejected::Claims)),
        ("an expiry above every integer", "exp", Some("1e400".into()), Some(TokenRejected::Claims)),
        ("an expiry in a list", "exp", Some(format!("[{}]", now + 600)), Some(TokenRejected::Claims)),
        ("expired", "exp", Some(at(now - 30)), Some(TokenRejected::Expired)),
        ("expired within the leeway", "exp", Some(at(now - 25)), None),
        ("a lifetime of a year", "exp", Some(at(now + 365 * 86400)), Some(TokenRejected::Lifetime)),
        ("a lifetime of an hour and a second", "exp", Some(at(now + 3601)), Some(TokenRejected::Lifetime)),
        ("a lifetime of an hour", "exp", Some(at(now + 3600)), None),
        ("no time of issue", "iat", None, Some(TokenRejected::Claims)),
        ("a time of issue that is a text", "iat", Some(text("0")), Some(TokenRejected::Claims)),
        ("issued in the future", "iat", Some(at(now + 40)), Some(TokenRejected::NotYet)),
        ("issued in the future within the leeway", "iat", Some(at(now + 30)), None),
        ("issued long ago", "iat", Some(at(now - 86400)), Some(TokenRejected::Lifetime)),
        ("valid in the future", "nbf", Some(at(now + 40)), Some(TokenRejected::NotYet)),
        ("valid in the future within the leeway", "nbf", Some(at(now + 30)), None),
        ("a time of validity that is a text", "nbf", Some(text("0")), Some(TokenRejected::Claims)),
        ("valid from now on", "nbf", Some(at(now)), None),
    ] {
        add(name, signer.sign(&header, &claims(now, field, value.as_deref())), expected.map_or(Ok(()), Err));
    }
    let twice = |field: &str| good.replacen('{', &format!("{{{field},"), 1);
    add("two subjects", signer.sign(&header, &twice(r#""sub":"admin""#)), Err(TokenRejected::Claims));
    add("two audiences", signer.sign(&header, &twice(r#""aud":"other""#)), Err(TokenRejected::Claims));
    add("two issuers", signer.sign(&header, &twice(r#""iss":"https://evil.example""#)), Err(TokenRejected::Claims));
    add("two of another claim", signer.sign(&header, &twice(r#""x":1,"x":2"#)), Err(TokenRejected::Claims));
    add("claims that are a list", signer.sign(&header, "[]"), Err(TokenRejected::Claims));
    add("claims that are not JSON", signer.sign(&header, "x"), Err(TokenRejected::Claims));
    add("more after the claims", signer.sign(&header, &format!("{good}x")), Err(TokenRejected::Claims));
    cases
}
