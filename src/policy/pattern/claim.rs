//! Patterns of the claims of bearer tokens.

use std::fmt;
use std::str::FromStr;

use super::label::LabelPattern;
use crate::quoted::Quoted;

const SEPARATORS: [char; 2] = [':', '/'];

/// A text in segments between `:` and `/`. Each segment may end with `*`, which matches the rest of that segment:
/// `system:serviceaccount:ci:*`, `refs/heads/release-*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPattern {
    segments: Vec<LabelPattern>,
    /// The characters between the segments, in their order.
    separators: String,
}

/// The error for a text that is not a claim pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not a pattern: \"*\" may only end a segment between \":\" and \"/\"; write it as in \"system:serviceaccount:ci:*\"",
    Quoted(text)
)]
pub struct ClaimPatternError {
    text: String,
}

impl ClaimPattern {
    /// Returns whether the pattern matches a claim's text.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut segments = text.split(SEPARATORS);
        text.chars().filter(|one| SEPARATORS.contains(one)).eq(self.separators.chars())
            && self.segments.iter().all(|pattern| segments.next().is_some_and(|segment| pattern.matches(segment)))
    }

    /// Returns whether this pattern matches every text that `other` matches.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.separators == other.separators
            && self.segments.iter().zip(&other.segments).all(|(outer, inner)| outer.contains(inner))
    }

    /// Returns whether a segment ends with `*`.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.segments.iter().any(LabelPattern::is_open)
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
            // Two separators in a row have an empty segment between them.
            "" => Some(LabelPattern::empty()),
            text => LabelPattern::parse_with(text, |byte| byte != b'*' && !byte.is_ascii_control()),
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
    fn claim_pattern_star_matches_the_rest_of_its_segment() {
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
