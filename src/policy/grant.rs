//! The model: a policy is a list of grants in the order of the file.

use super::pattern::{CallerPattern, RegistryPattern};
use crate::caller::ClaimNames;
use crate::credential::{Lifetime, ProfileName};
use crate::registry::Region;

/// The registries and profiles that callers may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// No grants are configured: every authenticated caller may have every registry, by the broker's own identity.
    Open,
    /// Grants in the order of the file; a request that none of them allows is denied.
    Grants(Vec<Grant>),
    /// Grants in observe mode: a denied request is served and recorded. The records show the effect of the grants in advance.
    Observed(Vec<Grant>),
}

/// A rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The name in answers and logs.
    pub id: String,
    /// The callers; one match is enough.
    pub callers: Vec<CallerPattern>,
    /// The registries; one match is enough.
    pub registries: Vec<RegistryPattern>,
    /// The profile that requests the credential. A deny grant without a profile applies to every profile.
    pub profile: Option<ProfileName>,
    /// The verdict.
    pub effect: Effect,
    /// The longest lifetime of the credentials that the grant allows; `None`: AWS's own.
    pub max_lifetime: Option<Lifetime>,
}

/// The verdict of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The callers may have the registries.
    Allow,
    /// The callers may not have the registries, whatever other grants allow.
    Deny,
    /// The callers are operators: they may read the broker's status. The grant has no registries and no profile.
    Operate,
}

impl Policy {
    /// Returns the mode in a word: `open` without grants, else `enforce` or `observe`.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Grants(_) => "enforce",
            Self::Observed(_) => "observe",
        }
    }

    /// Returns the grants in their order; an open policy has none.
    #[must_use]
    pub fn grants(&self) -> &[Grant] {
        match self {
            Self::Open => &[],
            Self::Grants(grants) | Self::Observed(grants) => grants,
        }
    }

    /// Returns the names of the claims that decide whether a grant applies.
    #[must_use]
    pub fn claim_names(&self) -> ClaimNames {
        let callers = || self.grants().iter().flat_map(|grant| &grant.callers);
        let of_tokens = callers().filter_map(CallerPattern::token).flat_map(|token| &token.claims);
        let of_brokers = callers()
            .filter_map(|one| if let CallerPattern::Forwarded(_, via) = one { via.claim.clone() } else { None });
        of_tokens.map(|(name, _)| name.clone()).chain(of_brokers).collect()
    }

    /// Returns the regions that allows name by their whole names.
    pub fn named_regions(&self) -> impl Iterator<Item = Region> {
        let allows = self.grants().iter().filter(|grant| grant.effect == Effect::Allow);
        allows.flat_map(|grant| &grant.registries).flat_map(RegistryPattern::named_regions)
    }

    /// Returns whether no grants are configured.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::Open
    }

    /// Returns whether every authenticated caller gets every registry.
    #[must_use]
    pub fn allows_everything(&self) -> bool {
        self.is_open() || self.is_observed()
    }

    /// Returns whether the policy is in observe mode: denied requests are served and recorded.
    #[must_use]
    pub fn is_observed(&self) -> bool {
        matches!(self, Self::Observed(_))
    }
}
