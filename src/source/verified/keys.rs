//! Which credentials are tried, and where.

use crate::credential::{Credential, CredentialKey, ProfileName, SourceName};
use crate::profile::{ActiveProfiles, Profile};

/// The keys whose credentials are tried, by their profiles.
#[derive(Debug, Clone, Default)]
pub struct VerifiedKeys {
    own: bool,
    profiles: ActiveProfiles,
}

impl VerifiedKeys {
    /// Returns the keys of the profiles with `verify`. `verify` of the broker's own identity is that of profiles that set none.
    #[must_use]
    pub fn new(own: bool, profiles: &[Profile]) -> Self {
        Self::following(own, ActiveProfiles::new(profiles.to_vec()))
    }

    /// Returns the same for profiles that may be reloaded.
    #[must_use]
    pub fn following(own: bool, profiles: ActiveProfiles) -> Self {
        Self { own, profiles }
    }

    /// Returns whether no credential is tried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.own && !self.profiles.set().iter().any(|profile| self.tries(profile))
    }

    /// Returns whether the credentials of a key are tried.
    #[must_use]
    pub fn has(&self, key: &CredentialKey) -> bool {
        if key.profile == ProfileName::default_profile() {
            return self.own;
        }
        self.profiles.find(key).is_some_and(|profile| self.tries(&profile))
    }

    fn tries(&self, profile: &Profile) -> bool {
        profile.verify.unwrap_or(self.own)
    }
}

/// Returns the registry's own host, never an alias. `None`: a parent broker returned the credential and may verify it itself, or only
/// AWS knows the account and did not name it. A credential of the shared cache is tried, because the broker that stored it there may
/// still be asking.
pub(super) fn host_to_ask(key: &CredentialKey, credential: &Credential) -> Option<String> {
    match credential.source() {
        SourceName::Aws | SourceName::SharedCache => key.registry.host_in(credential.account()),
        SourceName::Parent(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::credential::{Revision, USERNAME};
    use crate::moment::Moment;

    #[test]
    fn credentials_of_aws_and_the_shared_cache_are_tried_and_of_parents_not() {
        let now = Moment { wall: SystemTime::UNIX_EPOCH, steady: Duration::ZERO };
        let host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
        let key = CredentialKey {
            registry: host.parse().unwrap(),
            profile: ProfileName::default_profile(),
            revision: Revision::default(),
            caller: None,
            lifetime: None,
        };
        for (source, tried) in [
            (SourceName::Aws, true),
            (SourceName::SharedCache, true),
            (SourceName::Parent("central".parse().unwrap()), false),
        ] {
            let expires = now.wall + Duration::from_hours(1);
            let credential = Credential::new(source, USERNAME, "password", now.wall, expires, now).unwrap();
            assert_eq!(host_to_ask(&key, &credential).as_deref(), tried.then_some(host));
        }
    }
}
