//! Which credentials are tried, and where.

use std::collections::HashSet;

use crate::credential::{Credential, CredentialKey, ProfileName, SourceName};
use crate::profile::Profile;

/// The keys whose credentials are tried, by their profiles.
#[derive(Debug, Clone, Default)]
pub struct VerifiedKeys {
    profiles: HashSet<ProfileName>,
}

impl VerifiedKeys {
    /// Returns the keys of the profiles with `verify`. `verify` of the broker's own identity is that of profiles that set none.
    #[must_use]
    pub fn new(own: bool, profiles: &[Profile]) -> Self {
        let verified = profiles.iter().filter(|profile| profile.verify.unwrap_or(own)).map(|one| one.name.clone());
        Self { profiles: verified.chain(own.then(ProfileName::default_profile)).collect() }
    }

    /// Returns whether no credential is tried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.profiles.is_empty()
    }

    /// Returns whether the credentials of a key are tried.
    #[must_use]
    pub fn has(&self, key: &CredentialKey) -> bool {
        self.profiles.contains(&key.profile)
    }
}

/// Returns the registry's own host, never an alias. `None`: another source minted the credential and may verify it itself, or only AWS
/// knows the account and did not name it.
pub(super) fn host_to_ask(key: &CredentialKey, credential: &Credential) -> Option<String> {
    let is_of_aws = *credential.source() == SourceName::Aws;
    key.registry.host_in(credential.account()).filter(|_| is_of_aws)
}
