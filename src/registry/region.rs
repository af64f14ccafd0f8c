//! AWS regions.

use std::fmt;
use std::str::FromStr;

use super::error::RegistryError;
use super::partition::Partition;
use crate::quoted::Quoted;

/// An AWS region that belongs to a [`Partition`], such as `eu-central-1`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region {
    name: Box<str>,
    partition: Partition,
}

impl Region {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
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
        let partition = Partition::owning(text).ok_or_else(|| {
            RegistryError::invalid(format!(
                "{} is not an AWS region; write a region such as \"eu-central-1\"",
                Quoted(text)
            ))
        })?;
        Ok(Self { name: text.into(), partition })
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
