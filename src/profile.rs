//! Profiles: the roles by which a credential is minted, and what the credential may do.
//!
//! An ECR token has the permissions of the identity that requested it. A profile names the roles that the broker assumes before
//! the request, and may narrow the last one by a session policy. The token may do what both allow.

mod access;
#[cfg(feature = "server")]
mod active;
mod attribution;
mod permissions;
mod repository;
mod role;
mod session_name;
mod session_policy;
mod session_tags;
mod trust_policy;
mod value_source;

pub use self::access::Access;
#[cfg(feature = "server")]
pub use self::active::{ActiveProfiles, ProfileSet};
pub use self::attribution::{Attribution, AttributionError, NameTemplate};
pub use self::permissions::{Action, ActionError, ExtraPermissions, SigningProfile, SigningProfileError};
pub use self::repository::{RepositoryPattern, RepositoryPatternError};
pub use self::role::{ChainedRole, RoleTemplate, RoleTemplateError};
pub use self::session_tags::{MOST_TAGS, SessionTag, SessionTags, TagsOfRole, is_key};
pub use self::trust_policy::TrustPolicy;
pub use self::value_source::{SessionError, ValueSource, ValueSourceError};

use self::permissions::Permissions;
use self::session_policy::Scope;
use crate::caller::{Caller, ClaimNames, Principal, SessionIdentity};
use crate::credential::{CredentialKey, ProfileName};
use crate::packed_size;
use crate::registry::{Partition, Region};

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
    /// The attributes of the caller that the roles' sessions tell AWS.
    pub session_tags: SessionTags,
    /// The identity that names the roles' sessions.
    pub attribution: Attribution,
    /// Whether the session name is the source identity too, which AWS keeps through further role chaining. The roles' trust
    /// policies must allow `sts:SetSourceIdentity`.
    pub source_identity: bool,
    /// Whether each new credential is tried at its registry; `None`: as those of the broker's own identity.
    pub verify: Option<bool>,
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
            session_tags: SessionTags::default(),
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

    /// Returns the policy that narrows the last role's session for a credential; `None` if the profile narrows nothing. A session for
    /// short-lived tokens may request those and no others.
    ///
    /// A registry without an account is the one of the last role's account, and so are the public repositories that it may change.
    #[must_use]
    pub fn session_policy_of(&self, key: &CredentialKey) -> Option<String> {
        let registry = &key.registry;
        let last = self.role_chain.last().and_then(|last| last.role.account());
        let region = registry.region();
        // ECR Public belongs to the commercial partition.
        let partition = region.map_or(Partition::Aws, Region::partition);
        let scope = Scope {
            partition,
            region: region.map(Region::as_str),
            account: registry.account().or(last),
            short_lived: key.lifetime.is_some(),
        };
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

    /// Returns whether callers have different credentials: their own, or those of callers with the same claims.
    #[must_use]
    pub fn is_per_caller(&self) -> bool {
        self.attribution != Attribution::Broker || self.session_tags.are_of_caller()
    }

    /// Returns the key of the credentials that a caller gets, beside registry and profile; `None` if all callers share them.
    ///
    /// # Errors
    /// The caller's token lacks a claim that the session tells AWS.
    pub fn session_of(&self, caller: &Caller) -> Result<Option<Principal>, SessionError> {
        if !self.is_per_caller() {
            return Ok(None);
        }
        let principal = (self.attribution == Attribution::Caller).then(|| caller.principal());
        let name = match &self.attribution {
            Attribution::Template(template) => Some(template.name(caller)?),
            Attribution::Broker | Attribution::Caller => None,
        };
        let tags = if self.session_tags.are_of_caller() { self.session_tags.of_caller(caller)? } else { Vec::new() };
        Ok(SessionIdentity { principal, name, tags }.into_key())
    }

    /// Returns the claims of callers' tokens that the profile's sessions tell AWS.
    #[must_use]
    pub fn claim_names(&self) -> ClaimNames {
        let parts = if let Attribution::Template(template) = &self.attribution { template.parts() } else { &[] };
        let sources = self.session_tags.0.iter().map(|tag| &tag.value).chain(parts);
        sources.filter_map(ValueSource::claim).map(str::to_owned).collect()
    }

    /// Returns the name of the profile's role sessions, as CloudTrail shows it. `session` is what [`Self::session_of`] returned.
    #[must_use]
    pub fn session_name(&self, session: Option<&Principal>) -> String {
        let principal = match session {
            Some(Principal::Session(session)) => match &session.name {
                Some(name) => return name.to_string(),
                None => session.principal.as_ref(),
            },
            other => other,
        };
        principal.map_or_else(|| session_name::of_profile(&self.name), session_name::of_caller)
    }

    /// Returns the session tags of a session.
    #[must_use]
    pub fn tags_of(&self, session: Option<&Principal>) -> Vec<(Box<str>, Box<str>)> {
        let identity = session.and_then(Principal::session);
        let of_caller = identity.map(|identity| &identity.tags).filter(|tags| !tags.is_empty());
        of_caller.map_or_else(|| self.session_tags.fixed(), Clone::clone)
    }

    /// Returns the tags that the call for one role of the chain sets.
    #[must_use]
    pub fn tags_of_role(&self, session: Option<&Principal>, index: usize) -> TagsOfRole {
        self.session_tags.of_role(&self.tags_of(session), index, self.last_role())
    }

    /// Returns whether the sessions of the first `count` roles differ by caller.
    #[must_use]
    pub fn first_roles_differ_by_caller(&self, count: usize) -> bool {
        let passes_tags = self.session_tags.has_transitive() && self.session_tags.are_of_caller();
        count > self.last_role() || self.attribution != Attribution::Broker || passes_tags
    }

    /// Returns the trust policy that each role needs, in the order of the chain.
    #[must_use]
    pub fn trust_policies(&self) -> Vec<TrustPolicy> {
        trust_policy::of_chain(&self.role_chain, &self.session_tags, self.source_identity)
    }

    /// Returns the estimated share of STS's room for session policies and tags, in percent, with values of `length` letters for tags
    /// that differ by caller.
    #[must_use]
    pub fn packed_size(&self, length: usize) -> usize {
        let value = "x".repeat(length);
        let tags = self.session_tags.0.iter().map(|tag| match &tag.value {
            ValueSource::Text(text) => (&*tag.key, &**text),
            ValueSource::Claim(_) | ValueSource::Caller => (&*tag.key, value.as_str()),
        });
        packed_size::percent(self.longest_session_policy().as_deref(), tags)
    }

    fn permissions(&self) -> Permissions<'_> {
        Permissions { access: self.access, repositories: &self.repositories, extra: &self.extra }
    }

    fn last_role(&self) -> usize {
        self.role_chain.len().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests;
