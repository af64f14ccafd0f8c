//! Patterns of single labels. No regular expressions: whoever reviews a grant is to see what it lets in.

use std::fmt;
use std::str::FromStr;

use spiffe::{SpiffeId, TrustDomain};

use crate::quoted::Quoted;

/// A text, with one `*` at its end for whatever follows: `*`, `eu-*`, `eu-central-1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelPattern {
    start: Box<str>,
    open: bool,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a pattern: those are a name, or the beginning of one and \"*\", such as \"eu-*\"", Quoted(text))]
pub struct LabelPatternError {
    text: String,
}

impl LabelPattern {
    /// Every label.
    #[must_use]
    pub fn everything() -> Self {
        Self { start: "".into(), open: true }
    }

    /// Whether a label is one of those.
    #[must_use]
    pub fn matches(&self, label: &str) -> bool {
        if self.open { label.starts_with(&*self.start) } else { label == &*self.start }
    }

    /// Whether every label that the other is about is one of those.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        if self.open { other.start.starts_with(&*self.start) } else { self == other }
    }
}

impl LabelPattern {
    fn read(text: &str, plain: fn(u8) -> bool) -> Option<Self> {
        let (start, open) = text.strip_suffix('*').map_or((text, false), |start| (start, true));
        let fits = !text.is_empty() && start.bytes().all(plain);
        fits.then(|| Self { start: start.into(), open })
    }
}

impl FromStr for LabelPattern {
    type Err = LabelPatternError;

    fn from_str(text: &str) -> Result<Self, LabelPatternError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        Self::read(text, plain).ok_or_else(|| LabelPatternError { text: text.to_owned() })
    }
}

impl fmt::Display for LabelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.start, if self.open { "*" } else { "" })
    }
}

/// SPIFFE ids of one trust domain. Each segment of the path may end with `*`, which stands for the rest of that segment and never
/// for another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffePattern {
    trust_domain: TrustDomain,
    segments: Vec<LabelPattern>,
}

/// Why a text is no pattern of SPIFFE ids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not a pattern of SPIFFE ids: those are spiffe://, a trust domain in lower case, and a path in which \"*\" may end a segment, such as \"spiffe://prod.example/ns/ci/sa/runner-*\"",
    Quoted(text)
)]
pub struct SpiffePatternError {
    text: String,
}

impl SpiffePattern {
    /// Whose ids these are.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Whether an id is one of those.
    #[must_use]
    pub fn matches(&self, id: &SpiffeId) -> bool {
        let mut segments = id.path().split('/').skip(1);
        id.is_member_of(&self.trust_domain)
            && self.segments.iter().all(|pattern| segments.next().is_some_and(|segment| pattern.matches(segment)))
            && segments.next().is_none()
    }

    /// Whether every id that the other is about is one of those.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.trust_domain == other.trust_domain
            && self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(|(outer, inner)| outer.contains(inner))
    }
}

impl FromStr for SpiffePattern {
    type Err = SpiffePatternError;

    fn from_str(text: &str) -> Result<Self, SpiffePatternError> {
        read_spiffe(text).ok_or_else(|| SpiffePatternError { text: text.to_owned() })
    }
}

fn read_spiffe(text: &str) -> Option<SpiffePattern> {
    let (name, path) = text.strip_prefix("spiffe://")?.split_once('/')?;
    let trust_domain = TrustDomain::new(name).ok().filter(|domain| domain.as_str() == name)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let segment = |text: &str| LabelPattern::read(text, plain).filter(|_| !matches!(text, "." | ".."));
    let segments = path.split('/').map(segment).collect::<Option<_>>()?;
    Some(SpiffePattern { trust_domain, segments })
}

impl fmt::Display for SpiffePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}", self.trust_domain)?;
        self.segments.iter().try_for_each(|segment| write!(f, "/{segment}"))
    }
}

/// A text in segments, with `:` and `/` between them, each of which may end with `*` for the rest of that segment:
/// `system:serviceaccount:ci:*`, `refs/heads/release-*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPattern {
    segments: Vec<LabelPattern>,
    /// What stands between the segments.
    separators: String,
}

/// Why a text is no pattern of a claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not a pattern: \"*\" may end a segment between \":\" and \"/\", and stands for the rest of it, as in \"system:serviceaccount:ci:*\"",
    Quoted(text)
)]
pub struct ClaimPatternError {
    text: String,
}

const SEPARATORS: [char; 2] = [':', '/'];

impl ClaimPattern {
    /// Whether a claim's text is one of those.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut segments = text.split(SEPARATORS);
        text.chars().filter(|one| SEPARATORS.contains(one)).eq(self.separators.chars())
            && self.segments.iter().all(|pattern| segments.next().is_some_and(|segment| pattern.matches(segment)))
    }

    /// Whether every text that the other is about is one of those.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.separators == other.separators
            && self.segments.iter().zip(&other.segments).all(|(outer, inner)| outer.contains(inner))
    }

    /// Whether a `*` is in it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.segments.iter().any(|segment| segment.open)
    }
}

impl fmt::Display for ClaimPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separators = self.separators.chars();
        self.segments.iter().try_for_each(|segment| {
            write!(f, "{segment}")?;
            separators.next().map_or(Ok(()), |separator| write!(f, "{separator}"))
        })
    }
}

impl FromStr for ClaimPattern {
    type Err = ClaimPatternError;

    fn from_str(text: &str) -> Result<Self, ClaimPatternError> {
        let segment = |text: &str| match text {
            // Nothing between two separators is a segment too.
            "" => Some(LabelPattern { start: "".into(), open: false }),
            text => LabelPattern::read(text, |byte| byte != b'*' && !byte.is_ascii_control()),
        };
        let segments = text.split(SEPARATORS).map(segment).collect::<Option<_>>().filter(|_| !text.is_empty());
        let separators = text.chars().filter(|one| SEPARATORS.contains(one)).collect();
        let error = || ClaimPatternError { text: text.to_owned() };
        segments.map(|segments| Self { segments, separators }).ok_or_else(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_at_the_end_or_not_at_all() {
        for (pattern, label, matches) in [
            ("*", "eu-central-1", true),
            ("eu-*", "eu-central-1", true),
            ("eu-*", "us-east-1", false),
            ("eu-central-1", "eu-central-1", true),
            ("eu-central-1", "eu-central-12", false),
        ] {
            assert_eq!(pattern.parse::<LabelPattern>().unwrap().matches(label), matches, "{pattern} {label}");
            assert_eq!(pattern.parse::<LabelPattern>().unwrap().to_string(), pattern);
        }
        let pattern = |text: &str| text.parse::<LabelPattern>().unwrap();
        for (outer, inner, contains) in
            [("*", "eu-*", true), ("eu-*", "eu-west-1", true), ("eu-west-1", "eu-west-*", false), ("eu-*", "*", false)]
        {
            assert_eq!(pattern(outer).contains(&pattern(inner)), contains, "{outer} {inner}");
        }
        for wrong in ["", "*-1", "eu-*-1", "EU-*", "eu.*", "eu-**", "[ab]", "eu central"] {
            assert!(wrong.parse::<LabelPattern>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_star_in_a_spiffe_id_stands_for_the_rest_of_its_segment() {
        let pattern = |text: &str| text.parse::<SpiffePattern>().unwrap();
        for (text, id, matches) in [
            ("spiffe://a.example/ns/ci/sa/runner-*", "spiffe://a.example/ns/ci/sa/runner-1", true),
            ("spiffe://a.example/ns/ci/sa/runner-*", "spiffe://a.example/ns/ci/sa/runner-", true),
            ("spiffe://a.example/ns/ci/sa/runner-*", "spiffe://a.example/ns/ci/sa/runner-1/x", false),
            ("spiffe://a.example/ns/ci/sa/runner-*", "spiffe://a.example/ns/ci/sa", false),
            ("spiffe://a.example/ns/ci/sa/runner-*", "spiffe://b.example/ns/ci/sa/runner-1", false),
            ("spiffe://a.example/ns/*/sa/x", "spiffe://a.example/ns/any/sa/x", true),
            ("spiffe://a.example/ns/*/sa/x", "spiffe://a.example/ns/any/more/sa/x", false),
            ("spiffe://a.example/Runner", "spiffe://a.example/runner", false),
        ] {
            assert_eq!(pattern(text).matches(&SpiffeId::new(id).unwrap()), matches, "{text} {id}");
            assert_eq!(pattern(text).to_string(), text);
        }
        assert!(pattern("spiffe://a.example/ns/*").contains(&pattern("spiffe://a.example/ns/ci-*")));
        for other in ["spiffe://a.example/ns/*/x", "spiffe://b.example/ns/ci", "spiffe://a.example/*/ci"] {
            assert!(!pattern("spiffe://a.example/ns/*").contains(&pattern(other)), "{other}");
        }
        for wrong in [
            "",
            "spiffe://a.example",
            "spiffe://a.example/",
            "spiffe://*/x",
            "spiffe://A.example/x",
            "spiffe://a.example/*/",
            "spiffe://a.example/a*b",
            "spiffe://a.example/..",
            "spiffe://a.example/a//b",
            "https://a.example/x",
            "spiffe://a.example:1/x",
            "spiffe://a.example/%2a",
        ] {
            assert!(wrong.parse::<SpiffePattern>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_star_in_a_claim_stands_for_the_rest_of_its_segment() {
        let pattern = |text: &str| text.parse::<ClaimPattern>().unwrap();
        for (text, claim, matches) in [
            ("system:serviceaccount:ci:*", "system:serviceaccount:ci:runner", true),
            ("system:serviceaccount:ci:*", "system:serviceaccount:cd:runner", false),
            ("system:serviceaccount:*", "system:serviceaccount:ci:runner", false),
            ("repo:org/name:ref:refs/heads/*", "repo:org/name:ref:refs/heads/main", true),
            ("repo:org/name:ref:refs/heads/*", "repo:org/name:ref:refs/heads/a/b", false),
            ("repo:org/*", "repo:org:name", false),
            ("a:b", "a/b", false),
            ("456", "456", true),
            ("456", "4567", false),
            ("a:", "a:", true),
            ("a:", "a:b", false),
        ] {
            assert_eq!(pattern(text).matches(claim), matches, "{text} {claim}");
        }
        assert!(pattern("a:*").contains(&pattern("a:b*")) && !pattern("a:b*").contains(&pattern("a:*")));
        assert!(!pattern("a:*").contains(&pattern("a/b")));
        for wrong in ["", "a*b", "**", "a:*b", "a\nb"] {
            assert!(wrong.parse::<ClaimPattern>().is_err(), "{wrong:?}");
        }
    }
}
