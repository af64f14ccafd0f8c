//! The configured profiles.

use std::sync::Arc;

use super::request::CredentialRequest;
use crate::caller::ClaimNames;
use crate::credential::{CredentialKey, Lifetime, ProfileName};
use crate::error::BrokerError;
use crate::profile::{Profile, ProfileSet, SessionError};
use crate::registry::Registry;

/// Maximum number of profiles in an error. With hundreds of them, the error would not fit into HTTP/2 trailers.
const MAX_NAMED: usize = 16;

/// The configured profiles. A clone shares them.
#[derive(Debug, Clone)]
pub(super) struct Profiles(Arc<ProfileSet>);

impl From<Arc<ProfileSet>> for Profiles {
    fn from(profiles: Arc<ProfileSet>) -> Self {
        Self(profiles)
    }
}

impl Profiles {
    pub(super) fn all(&self) -> impl Iterator<Item = &Profile> + Clone {
        self.0.iter()
    }

    /// Returns whether no definition has changed between both.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns a profile by its name; `None` for the broker's own identity.
    pub(super) fn find(&self, name: &ProfileName) -> Option<&Profile> {
        self.0.find(name)
    }

    /// Returns the profile of a name, for a request that needs no grant. An empty name is the default profile.
    pub(super) fn named(&self, name: &str) -> Result<ProfileName, BrokerError> {
        let default = ProfileName::default_profile();
        if name.is_empty() {
            return Ok(default);
        }
        let mut known = std::iter::once(&default).chain(self.all().map(|profile| &profile.name));
        known.clone().find(|known| known.as_str() == name).cloned().ok_or_else(|| {
            let more = known.clone().count().saturating_sub(MAX_NAMED);
            let more = (more > 0).then(|| format!("{more} more"));
            let known: Vec<_> = known.by_ref().take(MAX_NAMED).map(ToString::to_string).chain(more).collect();
            BrokerError::ProfileUnknown { profile: name.to_owned(), known: known.join(", ") }
        })
    }

    /// Checks that the registry's account is known if the profile has a role in that account.
    pub(super) fn check_account(&self, registry: &Registry, profile: &ProfileName) -> Result<(), BrokerError> {
        let needs_account = self.find(profile).is_some_and(Profile::needs_account);
        if !needs_account || registry.account().is_some() {
            return Ok(());
        }
        let problem = format!("profile {profile} has a role in the registry's own account; name the account");
        Err(BrokerError::RequestInvalid { field: "private_registry.account_id", problem })
    }

    /// Checks that the registry's account is known if a grant limits the lifetime: the answer with a short-lived token names none.
    pub(super) fn check_lifetime(registry: &Registry, lifetime: Option<Lifetime>) -> Result<(), BrokerError> {
        if lifetime.is_none() || registry.account().is_some() {
            return Ok(());
        }
        let problem = "the grant limits the lifetime of credentials, which needs the account; name the account";
        Err(BrokerError::RequestInvalid { field: "private_registry.account_id", problem: problem.to_owned() })
    }

    /// Returns the cache key of a request. Profiles whose sessions tell AWS about the caller have credentials for each.
    pub(super) fn key(
        &self,
        request: &CredentialRequest,
        (profile, lifetime): (ProfileName, Option<Lifetime>),
    ) -> Result<CredentialKey, BrokerError> {
        let invalid = |error: SessionError| BrokerError::RequestInvalid {
            field: "profile",
            problem: format!("{profile}: {error}"),
        };
        let of_caller = |found: &Profile| found.session_of(&request.context.caller).map_err(invalid);
        let caller = self.find(&profile).map(of_caller).transpose()?.flatten();
        Ok(CredentialKey { caller, ..self.key_of(request.target.registry.clone(), (profile, lifetime)) })
    }

    /// Returns the claims of callers' tokens that sessions tell AWS.
    pub(super) fn claim_names(&self) -> ClaimNames {
        let none = || std::iter::empty::<String>().collect::<ClaimNames>();
        self.0.iter().fold(none(), |names, profile| names.and(&profile.claim_names()))
    }

    /// Returns the key of a credential that callers share, by the definition of its profile that is in effect here.
    pub(super) fn key_of(
        &self,
        registry: Registry,
        (profile, lifetime): (ProfileName, Option<Lifetime>),
    ) -> CredentialKey {
        CredentialKey { registry, revision: self.0.revision(&profile), profile, caller: None, lifetime }
    }
}
