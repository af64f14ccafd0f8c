//! Patterns of single labels.

use std::fmt;
use std::str::FromStr;

use crate::quoted::Quoted;

/// A label, or a prefix and `*`, which matches any rest: `*`, `eu-*`, `eu-central-1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelPattern {
    start: Box<str>,
    open: bool,
}

/// The error for a text that is not a label pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not a pattern: \"*\" may only end a lower-case name; write a name or a prefix such as \"eu-west-*\"",
    Quoted(text)
)]
pub struct LabelPatternError {
    text: String,
}

impl LabelPattern {
    /// Returns the pattern `*`, which matches every label.
    #[must_use]
    pub fn everything() -> Self {
        Self { start: "".into(), open: true }
    }

    /// Returns the pattern that matches only the empty label.
    pub(super) fn empty() -> Self {
        Self { start: "".into(), open: false }
    }

    /// Parses a pattern whose bytes are all `allowed`, apart from a `*` at the end.
    pub(super) fn parse_with(text: &str, allowed: fn(u8) -> bool) -> Option<Self> {
        let (start, open) = text.strip_suffix('*').map_or((text, false), |start| (start, true));
        let fits = !text.is_empty() && start.bytes().all(allowed);
        fits.then(|| Self { start: start.into(), open })
    }

    /// Returns whether the pattern ends with `*`.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Returns whether the pattern matches a label.
    #[must_use]
    pub fn matches(&self, label: &str) -> bool {
        if self.open { label.starts_with(&*self.start) } else { label == &*self.start }
    }

    /// Returns the part of a label that the `*` stands for; `None` without a `*`, or if the pattern does not match.
    pub(super) fn captured<'a>(&self, label: &'a str) -> Option<&'a str> {
        label.strip_prefix(&*self.start).filter(|_| self.open)
    }

    /// Returns whether this pattern matches every label that `other` matches.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        if self.open { other.start.starts_with(&*self.start) } else { self == other }
    }
}

impl FromStr for LabelPattern {
    type Err = LabelPatternError;

    fn from_str(text: &str) -> Result<Self, LabelPatternError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        Self::parse_with(text, allowed).ok_or_else(|| LabelPatternError { text: text.to_owned() })
    }
}

impl fmt::Display for LabelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.start, if self.open { "*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_pattern_allows_a_star_only_at_the_end() {
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
}
