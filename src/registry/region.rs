//! AWS regions.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::error::RegistryError;
use super::partition::Partition;
use crate::quoted::Quoted;

/// A well-formed name of an AWS region that belongs to a [`Partition`], such as `eu-central-1`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region {
    /// Borrowed from the table of AWS's regions, or owned.
    name: Cow<'static, str>,
    partition: Partition,
}

impl Region {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Returns whether AWS had the region when this program was built. Another one may have opened since.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.known_name().is_some()
    }

    /// Returns the name if AWS had the region when this program was built: one of a closed set.
    #[must_use]
    pub fn known_name(&self) -> Option<&'static str> {
        if let Cow::Borrowed(name) = self.name { Some(name) } else { None }
    }

    /// Returns the error of a request for a region that the broker does not know.
    #[must_use]
    pub fn unknown_error(&self) -> RegistryError {
        let name = &*self.name;
        RegistryError::invalid(format!(
            "the broker does not know region {name:?}; correct it, or add it to aws.regions on the broker"
        ))
    }

    /// Returns the partition that owns the region.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.partition
    }
}

impl FromStr for Region {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        if let Some((name, partition)) = Partition::known_region(text) {
            return Ok(Self { name: Cow::Borrowed(name), partition });
        }
        let partition = Partition::owning(text).ok_or_else(|| {
            RegistryError::invalid(format!(
                "{} is not an AWS region; write a region such as \"eu-central-1\"",
                Quoted(text)
            ))
        })?;
        Ok(Self { name: Cow::Owned(text.to_owned()), partition })
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
