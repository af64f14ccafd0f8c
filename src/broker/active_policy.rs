//! The active policy and its name in the audit log, with all else that a reload replaces.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::profiles::Profiles;
use super::regions::NamedRegions;
use crate::authn::jwt::LoadedIssuers;
use crate::caller::ClaimNames;
use crate::policy::{IndexedPolicy, Policy};
use crate::profile::Profile;
use crate::registry::{Aliases, Region, Registry};

/// A policy with its name in the audit log. One request is decided by one of them from begin to end.
#[derive(Debug)]
pub(super) struct ActivePolicy {
    pub(super) policy: IndexedPolicy,
    /// The claims by which its grants decide, and those that role sessions tell AWS.
    pub(super) claim_names: ClaimNames,
    /// The regions that its grants name by their whole names.
    pub(super) regions: NamedRegions,
    /// Fingerprint of the grants and profiles: equal in every broker of this version that has the same ones.
    pub(super) name: String,
    pub(super) settings: Arc<ActiveSettings>,
}

/// What a reload replaces beside the grants.
#[derive(Debug)]
pub(super) struct ActiveSettings {
    pub(super) profiles: Profiles,
    pub(super) aliases: Aliases,
    /// Regions outside AWS's table that aliases and kept-warm registries name.
    pub(super) regions: NamedRegions,
    /// IDs of the issuers of tokens that the grants are about; `None`: no tokens are accepted.
    pub(super) issuers: Option<Vec<usize>>,
    /// Fingerprint of the whole configuration; empty: it is not known.
    pub(super) config: String,
}

/// The settings that take effect together while the broker runs.
#[derive(Debug)]
pub struct Reloaded {
    /// The grants.
    pub policy: Policy,
    /// The IAM roles that mint credentials, beside the broker's own identity.
    pub profiles: Vec<Profile>,
    /// Other hosts under which registries are requested.
    pub aliases: Aliases,
    /// The issuers of bearer tokens; `None`: they stay.
    pub issuers: Option<LoadedIssuers>,
    /// Registries whose credentials are refreshed without requests: callers may name their regions.
    pub keep_warm: Vec<Registry>,
    /// Fingerprint of the whole configuration.
    pub config: String,
}

impl ActivePolicy {
    pub(super) fn new(policy: Policy, settings: Arc<ActiveSettings>) -> Self {
        let profiles: Vec<_> = settings.profiles.all().collect();
        let digest = Sha256::digest(format!("{policy:?} {profiles:?}"));
        let regions = policy.named_regions().collect();
        let claim_names = policy.claim_names().and(&settings.profiles.claim_names());
        Self { policy: policy.into(), claim_names, regions, name: HEXLOWER.encode(&digest[..8]), settings }
    }

    pub(super) fn profiles(&self) -> &Profiles {
        &self.settings.profiles
    }

    /// Returns whether both decide alike, and by the same definitions of profiles and issuers.
    pub(super) fn decides_as(&self, other: &Self) -> bool {
        let is_same = self.profiles().is_same(other.profiles()) && self.settings.issuers == other.settings.issuers;
        self.name == other.name && is_same
    }
}

impl ActiveSettings {
    pub(super) fn new(
        profiles: Profiles,
        aliases: Aliases,
        keep_warm: &[Registry],
        (issuers, config): (Option<Vec<usize>>, String),
    ) -> Self {
        let kept_warm = keep_warm.iter().filter_map(Registry::region).cloned().collect::<Vec<Region>>();
        Self { regions: NamedRegions::new(kept_warm, &aliases), profiles, aliases, issuers, config }
    }
}
