//! Patterns of repository names.

use std::fmt;
use std::str::FromStr;

use crate::quoted::Quoted;

/// ECR rejects a longer repository name.
const MAX_LENGTH: usize = 256;

/// A repository name, or a prefix and `*`, which matches any rest: `team-a/*`, `base/debian`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryPattern(Box<str>);

/// The error for a text that is not a repository pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not a repository; write a lower-case name such as \"team-a/app\", or a prefix and \"*\" such as \"team-a/*\"",
    Quoted(text)
)]
pub struct RepositoryPatternError {
    text: String,
}

impl RepositoryPattern {
    /// Returns the pattern as it was written.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepositoryPattern {
    type Err = RepositoryPatternError;

    /// Parses ECR's own grammar of names. Nothing else may get into an ARN: no `?`, no `:`, and no `*` except the last byte.
    fn from_str(text: &str) -> Result<Self, RepositoryPatternError> {
        let name = text.strip_suffix('*').unwrap_or(text);
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/".contains(&byte);
        let fits = (1..=MAX_LENGTH).contains(&text.len()) && name.bytes().all(allowed) && !name.starts_with('/');
        fits.then(|| Self(text.into())).ok_or_else(|| RepositoryPatternError { text: text.to_owned() })
    }
}

impl fmt::Display for RepositoryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_repository_names_are_rejected() {
        for wrong in ["", "a*b", "*/x", "A", "a?", "a:b", "a\"b", "${x}", "/a", "a b", "a\n", &"a".repeat(257)] {
            assert!(wrong.parse::<RepositoryPattern>().is_err(), "{wrong:?}");
        }
    }
}
