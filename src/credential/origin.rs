//! Origin of a credential, for the audit log: the source that answered, and the IAM identity that minted it.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A source of credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SourceName {
    /// Amazon Web Services.
    Aws,
    /// Another broker.
    Parent(ParentName),
    /// The cache that brokers share. One of them has fetched the credential from AWS.
    SharedCache,
}

/// The name of a parent broker in this broker's configuration. A clone shares its text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParentName {
    /// The name in audit records, with [`PARENT_PREFIX`].
    id: Arc<str>,
}

/// The shared cache's name in audit records.
const SHARED_CACHE: &str = "shared_cache";
/// What an audit record writes before the name of a parent.
const PARENT_PREFIX: &str = "parent:";

/// A text names no source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown source of credentials")]
pub struct UnknownSource;

impl SourceName {
    /// Returns the name in audit records: `aws`, `shared_cache`, or `parent:` and the name of the parent.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Aws => "aws",
            Self::Parent(name) => &name.id,
            Self::SharedCache => SHARED_CACHE,
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
            None if id == SHARED_CACHE => Ok(Self::SharedCache),
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
            Self::SharedCache => f.write_str("the shared cache"),
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

/// The role or user that minted credentials. A clone is a handle of the same: AWS may name the broker's own identity after it has minted
/// some.
#[derive(Debug, Clone, Default)]
pub struct Minter(Arc<Names>);

#[derive(Debug, Default)]
struct Names {
    arn: OnceLock<Box<str>>,
    /// Of the last session: a role that was deleted and created again under its name has another.
    unique_id: Mutex<Option<Arc<str>>>,
}

impl Minter {
    /// Returns the minter with a known ARN.
    #[must_use]
    pub fn known(arn: &str) -> Self {
        let minter = Self::default();
        minter.name(arn);
        minter
    }

    /// Sets the ARN, unless it is known.
    pub fn name(&self, arn: &str) {
        _ = self.0.arn.set(arn.into());
    }

    /// Returns the ARN, once it is known.
    #[must_use]
    pub fn arn(&self) -> Option<&str> {
        self.0.arn.get().map(AsRef::as_ref)
    }

    /// Sets the unique ID from a user ID of AWS: `AROA…` of a role's session `AROA…:NAME`.
    pub fn identify(&self, user_id: &str) {
        let unique_id = user_id.split(':').next().filter(|id| !id.is_empty()).map(Arc::from);
        *self.0.unique_id.lock().unwrap_or_else(PoisonError::into_inner) = unique_id;
    }

    /// Returns the unique ID, once it is known.
    #[must_use]
    pub fn unique_id(&self) -> Option<Arc<str>> {
        self.0.unique_id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_is_parsed_as_it_is_written() {
        let central: ParentName = "central".parse().unwrap();
        for source in [SourceName::Aws, SourceName::Parent(central.clone()), SourceName::SharedCache] {
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

    #[test]
    fn minter_has_the_unique_id_of_its_last_session() {
        let minter = Minter::default();
        let other = minter.clone();
        assert_eq!(other.unique_id(), None);
        for (user_id, unique_id) in
            [("AROAONE:ecr-broker-ci", "AROAONE"), ("AROATWO:x", "AROATWO"), ("AIDAUSER", "AIDAUSER")]
        {
            minter.identify(user_id);
            assert_eq!(other.unique_id().as_deref(), Some(unique_id));
        }
        minter.identify("");
        assert_eq!(other.unique_id(), None);
    }
}
