//! Profiles: the roles by which a credential is minted, and what the credential may do.
//!
//! An ECR token has the permissions of the identity that requested it. A profile names the roles that the broker assumes before
//! the request, and may narrow the last one by a session policy. The token may do what both allow.

mod access;
mod permissions;
mod repository;
mod role;
mod session_name;
mod session_policy;

pub use self::access::Access;
pub use self::permissions::{Action, ActionError, ExtraPermissions, SigningProfile, SigningProfileError};
pub use self::repository::{RepositoryPattern, RepositoryPatternError};
pub use self::role::{ChainedRole, RoleTemplate, RoleTemplateError};

use self::permissions::Permissions;
use self::session_policy::Scope;
use crate::caller::{Caller, Principal};
use crate::credential::ProfileName;
use crate::registry::{Partition, Region, Registry};

/// A configured way to mint credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The name.
    pub name: ProfileName,
    /// The role chain: the broker's own identity assumes the first role, and each role assumes the next.
    pub role_chain: Vec<ChainedRole>,
    /// The access to images.
    pub access: Access,
    /// The repositories of that access; an empty list covers all.
    pub repositories: Vec<RepositoryPattern>,
    /// The permissions beside that access.
    pub extra: ExtraPermissions,
    /// The identity that names the roles' sessions.
    pub attribution: Attribution,
    /// Whether the session name is the source identity too, which AWS keeps through further role chaining. The roles' trust
    /// policies must allow `sts:SetSourceIdentity`.
    pub source_identity: bool,
    /// Whether each new credential is tried at its registry; `None`: as those of the broker's own identity.
    pub verify: Option<bool>,
}

/// The identity that CloudTrail shows for a role session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribution {
    /// The broker and the profile. Callers share sessions and credentials.
    Broker,
    /// The caller. Each caller has its own session and credentials.
    Caller,
}

impl Profile {
    /// Returns a profile that a parent broker has: the parent knows its roles and access.
    #[must_use]
    pub fn of_parent(name: ProfileName) -> Self {
        Self {
            name,
            role_chain: Vec::new(),
            access: Access::Pull,
            repositories: Vec::new(),
            extra: ExtraPermissions::default(),
            attribution: Attribution::Broker,
            source_identity: false,
            verify: Some(false),
        }
    }

    /// Returns whether the profile serves only registries whose account is known.
    #[must_use]
    pub fn needs_account(&self) -> bool {
        self.first_roles_need_account(self.role_chain.len())
    }

    /// Returns whether one of the first `count` roles is in the registry's own account.
    #[must_use]
    pub fn first_roles_need_account(&self, count: usize) -> bool {
        self.role_chain.iter().take(count).any(|one| one.role.needs_account())
    }

    /// Returns whether the role session depends on the registry's account: by a role's ARN, or by the session policy, which names the
    /// account's repositories.
    #[must_use]
    pub fn depends_on_account(&self) -> bool {
        self.needs_account() || self.is_narrow()
    }

    /// Returns whether a session policy narrows the last role.
    #[must_use]
    pub fn is_narrow(&self) -> bool {
        session_policy::is_narrow(self.permissions())
    }

    /// Returns the policy that narrows the last role's session to a registry; `None` if the profile narrows nothing.
    ///
    /// A registry without an account is the one of the last role's account, and so are the public repositories that it may change.
    #[must_use]
    pub fn session_policy(&self, registry: &Registry) -> Option<String> {
        let last = self.role_chain.last().and_then(|last| last.role.account());
        let region = registry.region();
        // ECR Public belongs to the commercial partition.
        let partition = region.map_or(Partition::Aws, Region::partition);
        let scope = Scope { partition, region: region.map(Region::as_str), account: registry.account().or(last) };
        session_policy::build(self.permissions(), scope)
    }

    /// Returns the longest session policy that the profile has for a registry; `None` if it narrows nothing.
    #[must_use]
    pub fn longest_session_policy(&self) -> Option<String> {
        session_policy::longest(self.permissions())
    }

    /// Returns whether STS accepts the session policy for every registry.
    #[must_use]
    pub fn session_policy_fits(&self) -> bool {
        self.longest_session_policy().is_none_or(|policy| policy.len() <= session_policy::MAX_LENGTH)
    }

    /// Returns whether each caller has its own credentials.
    #[must_use]
    pub fn is_per_caller(&self) -> bool {
        self.attribution == Attribution::Caller
    }

    /// Returns the principal that the caller's credentials belong to; `None` if all callers share them.
    #[must_use]
    pub fn attributed_to(&self, caller: &Caller) -> Option<Principal> {
        self.is_per_caller().then(|| caller.principal())
    }

    /// Returns the name of the profile's role sessions, as CloudTrail shows it.
    #[must_use]
    pub fn session_name(&self, caller: Option<&Principal>) -> String {
        caller.map_or_else(|| session_name::of_profile(&self.name), session_name::of_caller)
    }

    fn permissions(&self) -> Permissions<'_> {
        Permissions { access: self.access, repositories: &self.repositories, extra: &self.extra }
    }
}

#[cfg(test)]
mod tests;
