//! The grammar of private registries' hosts.

use super::account::AccountId;
use super::error::RegistryError;
use super::partition::Partition;
use super::private::{EndpointVariant, PrivateRegistry};
use super::region::Region;

/// The parts of `ACCOUNT.dkr.ecr[-fips].REGION.SUFFIX` or `ACCOUNT.dkr-ecr[-fips].REGION.SUFFIX`. The shape is right, but the
/// parts are not checked yet.
pub(super) struct Host<'a> {
    whole: &'a str,
    account: &'a str,
    variant: EndpointVariant,
    region: &'a str,
    suffix: &'a str,
}

impl<'a> Host<'a> {
    /// Splits a host. Returns `None` for a host without this shape, or with a suffix of no partition: it does not belong to ECR.
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
        let variant = EndpointVariant { fips, dual_stack };
        is_known_suffix(suffix).then_some(Self { whole, account, variant, region, suffix })
    }

    /// Returns the registry if its parts fit together.
    pub(super) fn registry(&self) -> Result<PrivateRegistry, RegistryError> {
        let account: AccountId = self.account.parse()?;
        let region: Region = self.region.parse()?;
        if let Some(suffix) = region.partition().registry_suffix(self.variant.dual_stack)
            && suffix != self.suffix
        {
            let whole = self.whole;
            return Err(RegistryError::invalid(format!(
                "{whole:?} has the wrong suffix for its region and kind; end it with {suffix}"
            )));
        }
        PrivateRegistry::new(Some(account), region, self.variant)
    }
}

/// Returns whether a text that is not a registry was probably meant as the host of a private one.
#[must_use]
pub fn resembles_ecr(text: &str) -> bool {
    text.contains(".dkr.ecr") || text.contains(".dkr-ecr")
}

fn is_known_suffix(suffix: &str) -> bool {
    let has = |partition: &Partition, dual_stack| partition.registry_suffix(dual_stack) == Some(suffix);
    Partition::ALL.iter().any(|partition| has(partition, false) || has(partition, true))
}
