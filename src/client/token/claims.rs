//! Times and audience of a token, as it claims them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use zeroize::Zeroizing;

/// Claims that a client plans by. It verifies nothing: the broker does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// `iat`.
    pub issued: Option<SystemTime>,
    /// `exp`.
    pub expires: Option<SystemTime>,
    /// `aud`, as a list.
    pub audience: Vec<String>,
}

#[derive(Deserialize)]
struct Payload {
    iat: Option<f64>,
    exp: Option<f64>,
    #[serde(default)]
    aud: Audience,
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
    #[default]
    None,
}

impl Claims {
    /// Returns the claims of a JSON Web Token, or `None` if the text is not one.
    #[must_use]
    pub fn of(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
        let payload = Zeroizing::new(BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?);
        let Payload { iat, exp, aud } = serde_json::from_slice(&payload).ok()?;
        let audience = match aud {
            Audience::One(one) => vec![one],
            Audience::Many(many) => many,
            Audience::None => Vec::new(),
        };
        Some(Self { issued: iat.and_then(time), expires: exp.and_then(time), audience })
    }
}

/// Returns the time of a `NumericDate`, in whole seconds.
fn time(seconds: f64) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(since.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_of_tokens_are_read_and_other_texts_have_none() {
        let token = |claims: &str| format!("e30.{}.c2ln", BASE64URL_NOPAD.encode(claims.as_bytes()));
        let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
        for (payload, issued, expires, audience) in [
            (r#"{"iat":100,"exp":160,"aud":"a"}"#, at(100), at(160), &["a"][..]),
            (r#"{"exp":160.9,"aud":["a","b"]}"#, None, at(160), &["a", "b"]),
            (r#"{"sub":"x"}"#, None, None, &[]),
        ] {
            let claims = Claims::of(&token(payload)).unwrap();
            assert_eq!((claims.issued, claims.expires), (issued, expires), "{payload}");
            assert_eq!(claims.audience, audience, "{payload}");
        }
        assert_eq!(Claims::of(&token(r#"{"exp":1e300}"#)).unwrap().expires, None);
        for text in ["", "word", "a.b", "a.!.c", &token("[]"), &token("{\"exp\":\"1\"}")] {
            assert_eq!(Claims::of(text), None, "{text}");
        }
    }
}
