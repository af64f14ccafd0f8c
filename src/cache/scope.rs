//! Part of the cached credentials that a list may show one caller.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::SystemTime;

use crate::caller::Principal;
use crate::credential::ProfileName;
use crate::registry::{AccountId, Region};

/// The names by which a caller's own credentials are cached.
///
/// A role session may have a name or tags made of claims. Then its credentials are those of all callers with the same ones, in the
/// profile that makes the name so: another profile may give the same name to another caller.
#[derive(Debug, Clone, Default)]
pub struct OwnKeys {
    of_any_profile: Option<Principal>,
    of_profiles: HashMap<Principal, HashSet<ProfileName>>,
}

impl OwnKeys {
    /// Returns a name that is the caller's in every profile.
    #[must_use]
    pub fn of_any_profile(principal: Principal) -> Self {
        Self { of_any_profile: Some(principal), of_profiles: HashMap::new() }
    }

    /// Adds a name that is the caller's in one profile.
    pub fn add(&mut self, profile: ProfileName, principal: Principal) {
        self.of_profiles.entry(principal).or_default().insert(profile);
    }

    /// Returns the names.
    pub(super) fn principals(&self) -> impl Iterator<Item = &Principal> {
        let other = |principal: &&Principal| self.of_any_profile.as_ref() != Some(*principal);
        self.of_any_profile.iter().chain(self.of_profiles.keys().filter(other))
    }

    /// Returns whether a name is the caller's in a profile.
    pub(super) fn has(&self, principal: &Principal, profile: &ProfileName) -> bool {
        let is_of_profile = || self.of_profiles.get(principal).is_some_and(|profiles| profiles.contains(profile));
        self.of_any_profile.as_ref() == Some(principal) || is_of_profile()
    }
}

/// Credentials that a caller may see: those of some profiles, regions and accounts. Others are not even looked at.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The caller's names. Another caller's own credentials are not part of the scope.
    pub own: &'a OwnKeys,
    /// Returns whether the scope has the credentials of a profile in a region; ECR Public has no region.
    pub has_group: &'a dyn Fn(&ProfileName, Option<&Region>) -> bool,
    /// The accounts; `None`: all.
    pub accounts: Option<&'a [AccountId]>,
    /// The host and profile after which the scope begins.
    pub after: Option<(&'a str, &'a ProfileName)>,
}

/// A cached credential, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// The registry's host.
    pub host: String,
    /// The profile that minted the credential.
    pub profile: ProfileName,
    /// The expiry.
    pub expires: SystemTime,
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("accounts", &self.accounts).field("after", &self.after).finish_non_exhaustive()
    }
}
