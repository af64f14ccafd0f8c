//! Identities of role sessions as keys of credentials, and their names in records of the cache.

use std::sync::Arc;

use serde_json::Value;

use super::principal::{Principal, SESSION_PREFIX, SessionIdentity};

impl SessionIdentity {
    /// Returns the identity as the key of credentials; `None` if it is that of every session of its profile.
    #[must_use]
    pub fn into_key(self) -> Option<Principal> {
        match self {
            Self { principal: None, name: None, tags } if tags.is_empty() => None,
            Self { principal, name: None, tags } if tags.is_empty() => principal,
            other => Some(Principal::Session(Arc::new(other))),
        }
    }

    /// Parses what [`Display`](std::fmt::Display) writes. `read` parses the name of a principal.
    #[must_use]
    pub fn parse(text: &str, read: impl FnOnce(&str) -> Option<Principal>) -> Option<Self> {
        let Value::Array(parts) = serde_json::from_str(text.strip_prefix(SESSION_PREFIX)?).ok()? else { return None };
        let [principal, name, tags] = parts.as_slice() else { return None };
        let principal = match principal {
            Value::Null => None,
            other => Some(read(other.as_str()?)?),
        };
        let name = match name {
            Value::Null => None,
            other => Some(other.as_str()?.into()),
        };
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(Into::into);
        let tag = |tag: &Value| Some((text(tag.get(0))?, text(tag.get(1))?));
        Some(Self { principal, name, tags: tags.as_array()?.iter().map(tag).collect::<Option<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(principal: Option<Principal>, name: Option<&str>, tags: &[(&str, &str)]) -> SessionIdentity {
        let tags = tags.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        SessionIdentity { principal, name: name.map(Into::into), tags }
    }

    #[test]
    fn name_of_an_identity_is_read_back() {
        let read = |name: &str| (name == "uid:1001").then_some(Principal::Uid(1001));
        for identity in [
            tagged(Some(Principal::Uid(1001)), None, &[("team", "a")]),
            tagged(None, Some("job-7.0123"), &[]),
            tagged(None, None, &[("team", "a"), ("repo", "org/\"app\"")]),
        ] {
            assert_eq!(SessionIdentity::parse(&identity.to_string(), read), Some(identity));
        }
        for wrong in ["session:", "session:[]", "session:[1,null,[]]", "session:[null,null,[[\"a\"]]]", "uid:1001"] {
            assert_eq!(SessionIdentity::parse(wrong, read), None, "{wrong}");
        }
    }

    #[test]
    fn key_of_an_identity_without_tags_is_its_principal() {
        assert_eq!(SessionIdentity::default().into_key(), None);
        assert_eq!(tagged(Some(Principal::Loopback), None, &[]).into_key(), Some(Principal::Loopback));
        assert!(tagged(None, None, &[("team", "a")]).into_key().is_some_and(|key| key.session().is_some()));
    }
}
