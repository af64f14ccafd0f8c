//! A token's claims, typed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::{Refusal, Settings};

/// How far the issuer's clock may be off.
pub(super) const LEEWAY: Duration = Duration::from_secs(30);
/// Kubernetes' are at most 348 bytes, of other issuers 255.
const LONGEST_SUBJECT: usize = 512;

/// What a token says.
pub(super) struct Claims {
    pub(super) issuer: String,
    pub(super) subject: String,
    audiences: Vec<String>,
    expires: u64,
    issued_at: u64,
    not_before: Option<u64>,
    others: BTreeMap<String, Value>,
}

/// The value of a claim. Not serde's untagged enum, which would copy the rest of the token at every level of it.
enum Value {
    Text(String),
    Flag(bool),
    Number(i128),
    Texts(Vec<String>),
    /// Kubernetes and AWS keep theirs in one.
    Object(Raw),
    Other,
}

/// Claims; one that is there twice is a mistake at any depth, for readers differ in which they take.
struct Raw(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Object(claims) => Ok(claims),
            _ => Err(D::Error::custom("claims are an object")),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a claim")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut texts = Some(Vec::new());
        while let Some(item) = items.next_element()? {
            match (item, &mut texts) {
                (Value::Text(text), Some(texts)) => texts.push(text),
                _ => texts = None,
            }
        }
        Ok(texts.map_or(Value::Other, Value::Texts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut claims = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if claims.insert(name, map.next_value()?).is_some() {
                return Err(A::Error::custom("a claim is there twice"));
            }
        }
        Ok(Value::Object(Raw(claims)))
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
        Ok(Self {
            issuer,
            subject,
            audiences,
            expires: expires.ok_or(Refusal::Claims)?,
            issued_at: issued_at.ok_or(Refusal::Claims)?,
            not_before,
            others: raw,
        })
    }

    /// The other claims that are texts, numbers or booleans, by their names. Not before the signature is verified: the names of a
    /// small token can be long together.
    pub(super) fn texts(self) -> Result<BTreeMap<String, String>, Refusal> {
        let mut texts = BTreeMap::new();
        flatten(None, self.others, &mut texts)?;
        Ok(texts)
    }

    /// Its end.
    pub(super) fn expires(&self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.expires))
    }

    /// How long until its end.
    pub(super) fn left(&self, now: SystemTime) -> Duration {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Duration::from_secs(self.expires).saturating_sub(now)
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
        // What else Unicode has could make one subject look like another in a log.
        let printable = self.subject.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if !(1..=LONGEST_SUBJECT).contains(&self.subject.len()) || !printable {
            return Err(Refusal::Subject);
        }
        Ok(())
    }
}

/// A claim in an object is named by both, with a dot between them. Another claim of that very name would be there twice.
fn flatten(
    outer: Option<&str>,
    claims: BTreeMap<String, Value>,
    into: &mut BTreeMap<String, String>,
) -> Result<(), Refusal> {
    for (name, value) in claims {
        if name.is_empty() {
            return Err(Refusal::Claims);
        }
        let name = outer.map_or_else(|| name.clone(), |outer| format!("{outer}.{name}"));
        let text = match value {
            Value::Text(text) => text,
            Value::Flag(flag) => flag.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Object(Raw(inner)) => {
                flatten(Some(&name), inner, into)?;
                continue;
            }
            Value::Texts(_) | Value::Other => continue,
        };
        if into.insert(name, text).is_some() {
            return Err(Refusal::Claims);
        }
    }
    Ok(())
}
