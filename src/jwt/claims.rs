//! A token's claims, typed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Refusal, Settings};

/// How far the issuer's clock may be off.
const LEEWAY: Duration = Duration::from_secs(30);
/// Kubernetes' are at most 348 bytes, of other issuers 255.
const LONGEST_SUBJECT: usize = 512;

/// What a token says.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) issuer: String,
    pub(super) subject: String,
    audiences: Vec<String>,
    expires: u64,
    issued_at: u64,
    not_before: Option<u64>,
    /// The others that are texts, numbers or booleans.
    pub(super) texts: BTreeMap<String, String>,
}

/// The value of a claim that a grant may ask for.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Flag(bool),
    Number(i64),
    Texts(Vec<String>),
    Other(IgnoredAny),
}

/// All claims; one that is there twice is a mistake, for readers differ in which they take.
struct Raw(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object, each key once")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let (mut claims, mut names) = (BTreeMap::new(), BTreeSet::new());
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        return Err(serde::de::Error::custom("a claim is there twice"));
                    }
                    claims.insert(name, map.next_value()?);
                }
                Ok(Raw(claims))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl Claims {
    pub(super) fn read(json: &[u8]) -> Result<Self, Refusal> {
        let Raw(mut raw) = serde_json::from_slice(json).map_err(|_| Refusal::Claims)?;
        let mut text = |name| match raw.remove(name) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(Refusal::Claims),
        };
        let (issuer, subject) = (text("iss")?, text("sub")?);
        let audiences = match raw.remove("aud") {
            Some(Value::Text(audience)) => vec![audience],
            Some(Value::Texts(audiences)) => audiences,
            _ => return Err(Refusal::Claims),
        };
        let mut time = |name| match raw.remove(name) {
            None => Ok(None),
            Some(Value::Number(seconds)) => u64::try_from(seconds).map(Some).map_err(|_| Refusal::Claims),
            Some(_) => Err(Refusal::Claims),
        };
        let (expires, issued_at, not_before) = (time("exp")?, time("iat")?, time("nbf")?);
        let texts = raw.into_iter().filter_map(|(name, value)| Some((name, value.into_text()?))).collect();
        Ok(Self {
            issuer,
            subject,
            audiences,
            expires: expires.ok_or(Refusal::Claims)?,
            issued_at: issued_at.ok_or(Refusal::Claims)?,
            not_before,
            texts,
        })
    }

    /// Whether it is meant for the broker, and now. A token for several could be used against the broker by any of them.
    pub(super) fn check(&self, settings: &Settings, now: SystemTime) -> Result<(), Refusal> {
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (now, leeway) = (since_1970.as_secs(), LEEWAY.as_secs());
        if self.issuer != settings.issuer {
            return Err(Refusal::Issuer);
        }
        if self.audiences != [settings.audience.as_str()] {
            return Err(Refusal::Audience);
        }
        if now >= self.expires.saturating_add(leeway) {
            return Err(Refusal::Expired);
        }
        if self.not_before.unwrap_or_default().max(self.issued_at) > now.saturating_add(leeway) {
            return Err(Refusal::NotYet);
        }
        if self.expires.saturating_sub(self.issued_at) > settings.max_lifetime.as_secs() {
            return Err(Refusal::Lifetime);
        }
        let printable = !self.subject.chars().any(char::is_control);
        if !(1..=LONGEST_SUBJECT).contains(&self.subject.len()) || !printable {
            return Err(Refusal::Subject);
        }
        Ok(())
    }
}

impl Value {
    fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Flag(flag) => Some(flag.to_string()),
            Self::Number(number) => Some(number.to_string()),
            Self::Texts(_) | Self::Other(_) => None,
        }
    }
}
