//! Regions that callers may name: AWS's own, and those that the configuration names.
//!
//! Callers could otherwise invent regions without end, and each would cost calls to AWS, a queue and a DNS query.

use std::collections::BTreeSet;

use crate::registry::{Aliases, Region, RegistryError};

/// Regions outside AWS's table that the configuration names.
#[derive(Debug, Default)]
pub(super) struct NamedRegions(BTreeSet<Region>);

impl NamedRegions {
    pub(super) fn new(regions: impl IntoIterator<Item = Region>, aliases: &Aliases) -> Self {
        let of_aliases = aliases.iter().filter_map(|(_, registry)| registry.region().cloned());
        regions.into_iter().chain(of_aliases).collect()
    }

    /// Checks that a region is one of AWS's, or is named here or by one of `others`.
    ///
    /// # Errors
    /// If it is not.
    pub(super) fn check(&self, region: &Region, others: [&Self; 2]) -> Result<(), RegistryError> {
        if region.is_known() || self.0.contains(region) || others.iter().any(|named| named.0.contains(region)) {
            return Ok(());
        }
        Err(region.unknown_error())
    }
}

/// Collects the regions that AWS's table does not have.
impl FromIterator<Region> for NamedRegions {
    fn from_iter<I: IntoIterator<Item = Region>>(regions: I) -> Self {
        Self(regions.into_iter().filter(|region| !region.is_known()).collect())
    }
}
