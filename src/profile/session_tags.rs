//! Session tags: attributes of the caller by which IAM policies decide (`aws:PrincipalTag`).

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::value_source::{SessionError, ValueSource};
use crate::caller::Caller;

/// Maximum number of tags: STS rejects more.
pub const MOST_TAGS: usize = 50;
/// STS rejects a longer key.
const LONGEST_KEY: usize = 128;
/// STS rejects a longer value.
const LONGEST_VALUE: usize = 256;
/// The first 96 bits of a SHA-256.
const DIGEST_BYTES: usize = 12;

/// The tags of one session.
type KeysAndValues = Vec<(Box<str>, Box<str>)>;

/// The session tags of a profile. The default has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionTags(pub Vec<SessionTag>);

/// A session tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionTag {
    /// The key. STS ignores the case of letters in it.
    pub key: Box<str>,
    /// The source of its value.
    pub value: ValueSource,
    /// Whether sessions that the tagged one assumes have the tag, too.
    pub is_transitive: bool,
}

/// The tags that a call which assumes a role sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagsOfRole {
    /// Keys and values.
    pub tags: Vec<(Box<str>, Box<str>)>,
    /// The keys of those that later roles inherit.
    pub transitive: Vec<Box<str>>,
}

impl SessionTags {
    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether callers can have different tags.
    #[must_use]
    pub fn are_of_caller(&self) -> bool {
        self.0.iter().any(|tag| tag.value.is_of_caller())
    }

    /// Returns whether later roles inherit a tag.
    #[must_use]
    pub fn has_transitive(&self) -> bool {
        self.0.iter().any(|tag| tag.is_transitive)
    }

    /// Returns the keys and values for a caller.
    pub(super) fn of_caller(&self, caller: &Caller) -> Result<KeysAndValues, SessionError> {
        let value = |tag: &SessionTag| Ok((tag.key.clone(), sanitised(tag.value.value(caller)?)));
        self.0.iter().map(value).collect()
    }

    /// Returns the tags of which no caller has others.
    pub(super) fn fixed(&self) -> KeysAndValues {
        let text = |tag: &SessionTag| {
            let ValueSource::Text(text) = &tag.value else { return None };
            Some((tag.key.clone(), sanitised(text.to_string())))
        };
        self.0.iter().filter_map(text).collect()
    }

    /// Returns which of a session's `tags` the call for one role of the chain sets. Transitive tags are set once, with the first role:
    /// STS rejects a tag that is inherited already. Others count for the last role alone, which requests the token.
    pub(super) fn of_role(&self, tags: &[(Box<str>, Box<str>)], index: usize, last: usize) -> TagsOfRole {
        let is_transitive = |key: &str| self.0.iter().any(|tag| tag.is_transitive && *tag.key == *key);
        let is_set = |key: &str| if is_transitive(key) { index == 0 } else { index == last };
        let set: Vec<_> = tags.iter().filter(|(key, _)| is_set(key)).cloned().collect();
        let transitive = set.iter().map(|(key, _)| key.clone()).filter(|key| is_transitive(key)).collect();
        TagsOfRole { tags: set, transitive }
    }

    /// Returns whether the call for a role of the chain needs `sts:TagSession`: it sets tags, or the caller's session passes some on.
    pub(super) fn need_tag_session(&self, index: usize, last: usize) -> bool {
        self.has_transitive() || (index == last && !self.is_empty())
    }
}

/// Returns whether STS accepts a tag's key.
#[must_use]
pub fn is_key(key: &str) -> bool {
    let is_reserved = key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"));
    (1..=LONGEST_KEY).contains(&key.len()) && key.chars().all(is_allowed) && !is_reserved
}

/// Returns whether a letter of a key or value is one that STS accepts. STS accepts letters of every script; those outside ASCII are
/// replaced, because not every list of them is the same.
fn is_allowed(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || " _.:/=+-@".contains(letter)
}

/// Returns a value that STS accepts. A value that it rejects is shortened and its letters are replaced; the digest of the whole value
/// keeps it apart from every other value, so that a policy never takes one for another.
fn sanitised(value: String) -> Box<str> {
    if value.chars().all(is_allowed) && value.len() <= LONGEST_VALUE && !looks_sanitised(&value) {
        return value.into();
    }
    let room = LONGEST_VALUE - ".".len() - 2 * DIGEST_BYTES;
    let plain = value.chars().map(|letter| if is_allowed(letter) { letter } else { '_' }).take(room);
    let plain: String = plain.collect();
    format!("{plain}.{}", HEXLOWER.encode(&Sha256::digest(value)[..DIGEST_BYTES])).into()
}

/// Returns whether a value could be a sanitised one. A caller could otherwise have the sanitised value of another as its own.
fn looks_sanitised(value: &str) -> bool {
    let is_digest = |text: &str| {
        text.len() == 2 * DIGEST_BYTES
            && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    value.rsplit_once('.').is_some_and(|(_, end)| is_digest(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, is_transitive: bool) -> SessionTag {
        SessionTag { key: key.into(), value: ValueSource::Caller, is_transitive }
    }

    #[test]
    fn values_that_sts_rejects_become_distinct_ones_that_it_accepts() {
        for good in ["org/app", "refs/heads/main", "a b", "x@y.z:1=2+3", &"a".repeat(256)] {
            assert_eq!(&*sanitised(good.to_owned()), good);
        }
        let forged = sanitised("a#b".to_owned());
        let values = [
            "a#b",
            "a,b",
            "a_b",
            "a\nb",
            "käse",
            &"a".repeat(257),
            &"b".repeat(300),
            &format!("{}c", "b".repeat(299)),
            &forged,
        ];
        let all: std::collections::BTreeSet<_> = values.iter().map(|value| sanitised((*value).to_owned())).collect();
        assert_eq!(all.len(), values.len(), "{all:?}");
        assert!(all.iter().all(|value| value.len() <= LONGEST_VALUE && value.chars().all(is_allowed)), "{all:?}");
        assert!(forged.starts_with("a_b."), "{forged}");
    }

    #[test]
    fn keys_are_those_of_sts() {
        assert!(["team", "cost center", "org:unit/a", &"k".repeat(128)].iter().all(|key| is_key(key)));
        assert!(!["", "aws:team", "AWS:x", "a,b", "tëam", "a\n", &"k".repeat(129)].iter().any(|key| is_key(key)));
    }

    #[test]
    fn transitive_tags_are_set_by_the_first_role_and_others_by_the_last() {
        let tags = SessionTags(vec![tag("team", true), tag("repo", false)]);
        let values: Vec<(Box<str>, Box<str>)> = vec![("team".into(), "a".into()), ("repo".into(), "b".into())];
        let keys = |index, last| {
            let TagsOfRole { tags, transitive } = tags.of_role(&values, index, last);
            (tags.into_iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>().join(","), transitive.join(","))
        };
        let pair = |tags: &str, transitive: &str| (tags.to_owned(), transitive.to_owned());
        assert_eq!([keys(0, 2), keys(1, 2), keys(2, 2)], [pair("team", "team"), pair("", ""), pair("repo", "")]);
        assert_eq!(keys(0, 0), pair("team,repo", "team"));
        let only_last = SessionTags(vec![tag("repo", false)]);
        let need = |tags: &SessionTags| (0..3).map(|index| tags.need_tag_session(index, 2)).collect::<Vec<_>>();
        assert_eq!((need(&tags), need(&only_last)), (vec![true; 3], vec![false, false, true]));
        assert_eq!(need(&SessionTags::default()), [false; 3]);
    }
}
