//! Origin of a credential, for the audit log: the source that answered, and the IAM identity that minted it.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

/// A source of credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SourceName {
    /// Amazon Web Services.
    Aws,
    /// Another broker.
    Parent(ParentName),
}

/// The name of a parent broker in this broker's configuration. A clone shares its text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParentName {
    /// The name in audit records, with [`PARENT_PREFIX`].
    id: Arc<str>,
}

/// What an audit record writes before the name of a parent.
const PARENT_PREFIX: &str = "parent:";

/// A text names no source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown source of credentials")]
pub struct UnknownSource;

impl SourceName {
    /// Returns the name in audit records: `aws`, or `parent:` and the name of the parent.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Aws => "aws",
            Self::Parent(name) => &name.id,
        }
    }
}

/// Parses the name in audit records.
impl FromStr for SourceName {
    type Err = UnknownSource;

    fn from_str(id: &str) -> Result<Self, UnknownSource> {
        match id.strip_prefix(PARENT_PREFIX) {
            Some(name) => name.parse().map(Self::Parent),
            None if id == "aws" => Ok(Self::Aws),
            None => Err(UnknownSource),
        }
    }
}

/// The name in errors and logs.
impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aws => f.write_str("AWS"),
            Self::Parent(name) => write!(f, "the parent broker {name}"),
        }
    }
}

impl ParentName {
    /// The longest name in bytes.
    const LONGEST: usize = 64;

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.id[PARENT_PREFIX.len()..]
    }
}

/// Accepts 1 to 64 letters, digits, `-`, `_` and `.`, so that no longer or stranger name reaches a log or a metric.
impl FromStr for ParentName {
    type Err = UnknownSource;

    fn from_str(text: &str) -> Result<Self, UnknownSource> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let fits = (1..=Self::LONGEST).contains(&text.len()) && text.bytes().all(is_allowed);
        if fits { Ok(Self { id: format!("{PARENT_PREFIX}{text}").into() }) } else { Err(UnknownSource) }
    }
}

impl fmt::Display for ParentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ParentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
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
    fn source_is_parsed_as_it_is_written() {
        let central: ParentName = "central".parse().unwrap();
        for source in [SourceName::Aws, SourceName::Parent(central.clone())] {
            assert_eq!(source.id().parse(), Ok(source));
        }
        assert_eq!((central.as_str(), format!("{central:?}")), ("central", "\"central\"".to_owned()));
        for wrong in ["", "AWS", "parent:", "parent:a b", "central", &format!("parent:{}", "x".repeat(65))] {
            assert_eq!(wrong.parse::<SourceName>(), Err(UnknownSource), "{wrong}");
        }
    }

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
