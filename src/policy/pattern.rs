//! Patterns of single labels. No regular expressions: whoever reviews a grant is to see what it lets in.

use std::fmt;
use std::str::FromStr;

use crate::echo::Echo;

/// A text, with one `*` at its end for whatever follows: `*`, `eu-*`, `eu-central-1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelPattern {
    start: Box<str>,
    open: bool,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a pattern: those are a name, or the beginning of one and \"*\", such as \"eu-*\"", Echo(text))]
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

impl FromStr for LabelPattern {
    type Err = LabelPatternError;

    fn from_str(text: &str) -> Result<Self, LabelPatternError> {
        let (start, open) = text.strip_suffix('*').map_or((text, false), |start| (start, true));
        let plain = start.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !plain || text.is_empty() {
            return Err(LabelPatternError { text: text.to_owned() });
        }
        Ok(Self { start: start.into(), open })
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
}
