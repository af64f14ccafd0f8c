//! Private registries: an account, a region and the kind of endpoint.

use super::account::AccountId;
use super::error::RegistryError;
use super::region::Region;

/// The kind of endpoint. The host of a FIPS or dual-stack registry goes with the AWS API endpoint of the same kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointVariant {
    /// FIPS 140 validated cryptography.
    pub fips: bool,
    /// IPv4 and IPv6.
    pub dual_stack: bool,
}

/// The registry of one account in one region.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrivateRegistry {
    account: Option<AccountId>,
    region: Region,
    variant: EndpointVariant,
}

impl PrivateRegistry {
    /// Returns the registry with these parts. Without an account it is the registry of the identity that calls AWS.
    ///
    /// # Errors
    /// If the region's partition has no dual-stack registries.
    pub fn new(account: Option<AccountId>, region: Region, variant: EndpointVariant) -> Result<Self, RegistryError> {
        if region.partition().registry_suffix(variant.dual_stack).is_none() {
            return Err(RegistryError::invalid(format!(
                "region {region} has no dual-stack registries; use its plain registry"
            )));
        }
        Ok(Self { account, region, variant })
    }

    /// Returns the registry of the identity that calls AWS, in the same region and by the same kind of endpoint.
    #[must_use]
    pub fn without_account(&self) -> Self {
        Self { account: None, ..self.clone() }
    }

    /// Returns the account; `None` if only AWS knows it.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        self.account
    }

    /// Returns the region.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Returns the kind of endpoint.
    #[must_use]
    pub fn variant(&self) -> EndpointVariant {
        self.variant
    }

    /// Returns the host of the registry in `account`.
    #[must_use]
    pub fn host(&self, account: AccountId) -> String {
        let EndpointVariant { fips, dual_stack } = self.variant;
        let service = if dual_stack { "dkr-ecr" } else { "dkr.ecr" };
        let fips = if fips { "-fips" } else { "" };
        let suffix = self.region.partition().registry_suffix(dual_stack).unwrap_or_default();
        format!("{account}.{service}{fips}.{}.{suffix}", self.region)
    }
}
