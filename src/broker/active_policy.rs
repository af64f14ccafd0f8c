//! The active policy and its name in the audit log.

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::profiles::Profiles;
use super::regions::NamedRegions;
use crate::caller::ClaimNames;
use crate::policy::{IndexedPolicy, Policy};

/// A policy with its name in the audit log.
#[derive(Debug)]
pub(super) struct ActivePolicy {
    pub(super) policy: IndexedPolicy,
    /// The claims by which its grants decide, and those that role sessions tell AWS.
    pub(super) claim_names: ClaimNames,
    /// The regions that its grants name by their whole names.
    pub(super) regions: NamedRegions,
    /// Fingerprint of the grants and profiles: equal in every broker of this version that has the same ones.
    pub(super) name: String,
}

impl ActivePolicy {
    pub(super) fn new(policy: Policy, profiles: &Profiles) -> Self {
        let digest = Sha256::digest(format!("{policy:?} {:?}", profiles.all()));
        let regions = policy.named_regions().collect();
        let claim_names = policy.claim_names().and(&profiles.claim_names());
        Self { policy: policy.into(), claim_names, regions, name: HEXLOWER.encode(&digest[..8]) }
    }
}
