//! Claims as JSON, without duplicate names.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// The value of a claim. It implements `Deserialize` itself, because serde's untagged enums copy the rest of the token at every level.
pub(super) enum ClaimValue {
    Text(String),
    Flag(bool),
    Number(i128),
    Texts(Vec<String>),
    /// Nested claims, as Kubernetes and AWS have them.
    Object(ClaimObject),
    Other,
}

/// Claims by name. A duplicate name is an error at any depth, because JSON parsers differ in which value they return.
pub(super) struct ClaimObject(pub(super) BTreeMap<String, ClaimValue>);

impl<'de> Deserialize<'de> for ClaimObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match ClaimValue::deserialize(deserializer)? {
            ClaimValue::Object(claims) => Ok(claims),
            _ => Err(D::Error::custom("claims are not an object")),
        }
    }
}

impl<'de> Deserialize<'de> for ClaimValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = ClaimValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a claim")
    }

    fn visit_str<E>(self, text: &str) -> Result<ClaimValue, E> {
        Ok(ClaimValue::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<ClaimValue, E> {
        Ok(ClaimValue::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<ClaimValue, E> {
        Ok(ClaimValue::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<ClaimValue, E> {
        Ok(ClaimValue::Number(number.into()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<ClaimValue, E> {
        Ok(ClaimValue::Other)
    }

    fn visit_unit<E>(self) -> Result<ClaimValue, E> {
        Ok(ClaimValue::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<ClaimValue, A::Error> {
        let mut texts = Some(Vec::new());
        while let Some(item) = items.next_element()? {
            match (item, &mut texts) {
                (ClaimValue::Text(text), Some(texts)) => texts.push(text),
                _ => texts = None,
            }
        }
        Ok(texts.map_or(ClaimValue::Other, ClaimValue::Texts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ClaimValue, A::Error> {
        let mut claims = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if claims.insert(name, map.next_value()?).is_some() {
                return Err(A::Error::custom("duplicate claim"));
            }
        }
        Ok(ClaimValue::Object(ClaimObject(claims)))
    }
}
