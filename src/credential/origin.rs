//! Origin of a credential, for the audit log: the source that answered, and the IAM identity that minted it.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

/// A source of credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceName {
    /// Amazon Web Services.
    Aws,
}

/// A text names no source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown source of credentials")]
pub struct UnknownSource;

impl SourceName {
    /// Returns the name in audit records.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Aws => "aws",
        }
    }
}

/// Parses the name in audit records.
impl FromStr for SourceName {
    type Err = UnknownSource;

    fn from_str(id: &str) -> Result<Self, UnknownSource> {
        [Self::Aws].into_iter().find(|source| source.id() == id).ok_or(UnknownSource)
    }
}

/// The name in errors.
impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aws => "AWS",
        })
    }
}

/// The ARN of the role or user that minted credentials. A clone is a handle of the same: AWS may name the broker's own identity after
/// it has minted some.
#[derive(Debug, Clone, Default)]
pub struct Minter(Arc<OnceLock<Box<str>>>);

impl Minter {
    /// Returns the minter with a known ARN.
    #[must_use]
    pub fn known(arn: &str) -> Self {
        Self(Arc::new(OnceLock::from(Box::from(arn))))
    }

    /// Sets the ARN, unless it is known.
    pub fn name(&self, arn: &str) {
        _ = self.0.set(arn.into());
    }

    /// Returns the ARN, once it is known.
    #[must_use]
    pub fn arn(&self) -> Option<&str> {
        self.0.get().map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minter_is_named_once_for_all_its_handles() {
        let (minter, known) = (Minter::default(), Minter::known("arn:aws:iam::123456789012:role/pull"));
        let other = minter.clone();
        assert_eq!((other.arn(), known.arn()), (None, Some("arn:aws:iam::123456789012:role/pull")));
        minter.name("arn:aws:iam::123456789012:role/node");
        minter.name("arn:aws:iam::123456789012:role/later");
        assert_eq!(other.arn(), Some("arn:aws:iam::123456789012:role/node"));
    }
}
