//! The scope of a token: which credentials may have the same.

use crate::credential::{CredentialKey, ProfileName};
use crate::profile::{ActiveProfiles, Profile};
use crate::registry::Registry;

/// What has its own token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TokenScope {
    /// Each account.
    #[default]
    Account,
    /// Each identity, for all accounts that it may use: a token is requested once for each region and endpoint variant.
    Identity,
}

/// The keys whose credentials may share a token: those of the broker's own identity, and of profiles whose role sessions do not depend
/// on the registry's account.
#[derive(Debug, Clone)]
pub struct SharedKeys {
    profiles: ActiveProfiles,
}

impl SharedKeys {
    /// Returns the keys under `profiles` and the broker's own identity.
    #[must_use]
    pub fn new(profiles: &[Profile]) -> Self {
        Self::following(ActiveProfiles::new(profiles.to_vec()))
    }

    /// Returns the same for profiles that may be reloaded.
    #[must_use]
    pub fn following(profiles: ActiveProfiles) -> Self {
        Self { profiles }
    }

    /// Returns whether a key names a profile that is no longer in effect.
    pub(super) fn is_retired(&self, key: &CredentialKey) -> bool {
        self.profiles.is_retired(key)
    }

    fn share(&self, key: &CredentialKey) -> bool {
        let is_own = key.profile == ProfileName::default_profile();
        is_own || self.profiles.find(key).is_some_and(|profile| !profile.depends_on_account())
    }

    /// Returns the key of the token that serves `key`: `key` without its account. `None`: the credential shares no token, as that of ECR
    /// Public, which has no accounts.
    #[must_use]
    pub fn of(&self, key: &CredentialKey) -> Option<CredentialKey> {
        match &key.registry {
            Registry::Private(registry) if self.share(key) => {
                Some(CredentialKey { registry: Registry::Private(registry.without_account()), ..key.clone() })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Revision;
    use crate::profile::{Access, Attribution, ExtraPermissions, SessionTags};

    fn profile(name: &str, role: &str, access: Access, repositories: &[&str]) -> Profile {
        Profile {
            name: name.parse().unwrap(),
            role_chain: vec![role.parse().unwrap()],
            access,
            repositories: repositories.iter().map(|pattern| pattern.parse().unwrap()).collect(),
            extra: ExtraPermissions::default(),
            session_tags: SessionTags::default(),
            attribution: Attribution::Broker,
            source_identity: false,
            verify: None,
        }
    }

    #[test]
    fn only_sessions_that_do_not_depend_on_the_account_share_a_token() {
        let fixed = "arn:aws:iam::210987654321:role/hub";
        let keys = SharedKeys::new(&[
            profile("hub", fixed, Access::Full, &[]),
            profile("pull", fixed, Access::Pull, &[]),
            profile("team", fixed, Access::Full, &["team-a/*"]),
            profile("each", "arn:aws:iam::{account}:role/pull", Access::Full, &[]),
        ]);
        for (name, shares) in
            [("default", true), ("hub", true), ("pull", false), ("team", false), ("each", false), ("unknown", false)]
        {
            let registry: Registry = "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com".parse().unwrap();
            let key = CredentialKey {
                registry,
                profile: name.parse().unwrap(),
                revision: Revision::default(),
                caller: None,
                lifetime: None,
            };
            let shared = keys.of(&key);
            assert_eq!(shared.is_some(), shares, "{name}");
            let Some(Registry::Private(registry)) = shared.map(|key| key.registry) else { continue };
            assert_eq!((registry.account(), registry.variant().fips), (None, true), "{name}");
        }
        let public = CredentialKey {
            registry: Registry::PUBLIC,
            profile: ProfileName::default_profile(),
            revision: Revision::default(),
            caller: None,
            lifetime: None,
        };
        assert_eq!(keys.of(&public), None);
    }
}
