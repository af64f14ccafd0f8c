//! The hosts of private registries, taken apart.

use super::{AccountId, EndpointVariant, Partition, PrivateRegistry, Region, RegistryError};

/// `ACCOUNT.dkr.ecr[-fips].REGION.SUFFIX` or `ACCOUNT.dkr-ecr[-fips].REGION.SUFFIX`: the shape is right, the parts are not
/// checked yet.
pub(super) struct Host<'a> {
    whole: &'a str,
    account: &'a str,
    variant: EndpointVariant,
    region: &'a str,
    suffix: &'a str,
}

impl<'a> Host<'a> {
    /// A host without this shape, or with a suffix that no partition has, is not ECR's.
    pub(super) fn parse(whole: &'a str) -> Option<Self> {
        let (account, rest) = whole.split_once('.')?;
        let (dual_stack, rest) = match rest.strip_prefix("dkr-ecr") {
            Some(rest) => (true, rest),
            None => (false, rest.strip_prefix("dkr.ecr")?),
        };
        let (fips, rest) = match rest.strip_prefix("-fips") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let (region, suffix) = rest.strip_prefix('.')?.split_once('.')?;
        let known = |partition: &Partition| {
            [false, true].iter().any(|dual_stack| partition.registry_suffix(*dual_stack) == Some(suffix))
        };
        Partition::ALL.iter().any(known).then_some(Self {
            whole,
            account,
            variant: EndpointVariant { fips, dual_stack },
            region,
            suffix,
        })
    }

    /// The registry, if every part belongs to the others.
    pub(super) fn registry(&self) -> Result<PrivateRegistry, RegistryError> {
        let account: AccountId = self.account.parse()?;
        let region: Region = self.region.parse()?;
        let partition = region.partition();
        match partition.registry_suffix(self.variant.dual_stack) {
            Some(suffix) if suffix == self.suffix => PrivateRegistry::new(Some(account), region, self.variant),
            Some(suffix) => Err(RegistryError::invalid(format!(
                "{:?} mixes what does not belong together: registries of this kind in {region} end in {suffix}",
                self.whole
            ))),
            None => Err(RegistryError::invalid(format!("region {region} has no dual-stack registries"))),
        }
    }
}
