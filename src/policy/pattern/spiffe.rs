//! Patterns of SPIFFE IDs.

use std::fmt;
use std::str::FromStr;

use spiffe::{SpiffeId, TrustDomain};

use super::label::LabelPattern;
use crate::quoted::Quoted;

/// SPIFFE IDs of one trust domain. Each segment of the path may end with `*`, which matches the rest of that segment and never
/// crosses a `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffePattern {
    trust_domain: TrustDomain,
    segments: Vec<LabelPattern>,
}

/// The error for a text that is not a pattern of SPIFFE IDs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not a pattern of SPIFFE IDs; write it as in \"spiffe://prod.example/ns/ci/runner-*\", with \"*\" only at a segment's end",
    Quoted(text)
)]
pub struct SpiffePatternError {
    text: String,
}

impl SpiffePattern {
    /// Returns the trust domain of the IDs.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Returns the pattern of the path.
    pub(in crate::policy) fn path(&self) -> String {
        self.segments.iter().fold(String::new(), |path, segment| format!("{path}/{segment}"))
    }

    /// Returns whether the pattern matches an ID.
    #[must_use]
    pub fn matches(&self, id: &SpiffeId) -> bool {
        let mut segments = id.path().split('/').skip(1);
        id.is_member_of(&self.trust_domain)
            && self.segments.iter().all(|pattern| segments.next().is_some_and(|segment| pattern.matches(segment)))
            && segments.next().is_none()
    }

    /// Returns the number of segments that end with `*`.
    pub(super) fn stars(&self) -> usize {
        self.segments.iter().filter(|segment| segment.is_open()).count()
    }

    /// Returns the part of an ID that the first `*` stands for; `None` without a `*`, or if the pattern does not match.
    pub(super) fn captured<'a>(&self, id: &'a SpiffeId) -> Option<&'a str> {
        let mut segments = self.segments.iter().zip(id.path().split('/').skip(1));
        segments.find_map(|(pattern, segment)| pattern.captured(segment)).filter(|_| self.matches(id))
    }

    /// Returns whether this pattern matches every ID that `other` matches.
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
        parse(text).ok_or_else(|| SpiffePatternError { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<SpiffePattern> {
    let (name, path) = text.strip_prefix("spiffe://")?.split_once('/')?;
    let trust_domain = TrustDomain::new(name).ok().filter(|domain| domain.as_str() == name)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let segment = |text: &str| LabelPattern::parse_with(text, allowed).filter(|_| !matches!(text, "." | ".."));
    let segments = path.split('/').map(segment).collect::<Option<_>>()?;
    Some(SpiffePattern { trust_domain, segments })
}

impl fmt::Display for SpiffePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}", self.trust_domain)?;
        self.segments.iter().try_for_each(|segment| write!(f, "/{segment}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spiffe_pattern_star_matches_the_rest_of_its_segment() {
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
}
