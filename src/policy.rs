//! Who may have what: grants, and the decision over them.
//!
//! Nothing matches: denied. The first allow, in the order of the file, that covers the whole request decides, and with it which
//! profile mints the credential; rights of several grants are never added up. A deny that is about that wins over it.

use std::collections::BTreeSet;

use crate::caller::{Caller, DnsName, TokenCaller};
use crate::credential::ProfileName;
use crate::registry::{AccountId, PrivateRegistry, Registry};

pub mod lint;
mod pattern;
pub mod suggest;

pub use self::pattern::{
    ClaimPattern, ClaimPatternError, LabelPattern, LabelPatternError, SpiffePattern, SpiffePatternError,
};

/// What callers may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// No grants are configured: whoever gets as far as asking may have everything, by the broker's own identity.
    Open,
    /// What is granted, in the order of the file.
    Grants(Vec<Grant>),
    /// The same, but what it denies is given all the same and put on record: to see what grants would do before they do it.
    Observed(Vec<Grant>),
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Names it in answers and logs.
    pub id: String,
    /// To whom it applies: any of these.
    pub callers: Vec<CallerPattern>,
    /// To what: any of these.
    pub registries: Vec<RegistryPattern>,
    /// How the credential is minted; of a deny, which profile it is about, and without one: every profile.
    pub profile: Option<ProfileName>,
    /// What it says.
    pub effect: Effect,
}

/// What a grant says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// They may have it.
    Allow,
    /// They may not, whatever else is granted.
    Deny,
}

/// Callers that a grant is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerPattern {
    /// Processes of a user, over a Unix socket.
    Uid(u32),
    /// Processes whose primary group this is, over a Unix socket.
    Gid(u32),
    /// Any process of this host, over loopback TCP.
    Loopback,
    /// Any process of this host that has the secret of the AWS API.
    AwsApi,
    /// Workloads, by the SPIFFE id in their certificates.
    Spiffe(SpiffePattern),
    /// A host, by the DNS name in its certificate.
    Dns(DnsName),
    /// Whoever a bearer token is about.
    Token(TokenPattern),
}

/// Bearer tokens that a grant is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPattern {
    /// The name that the configuration has for the issuer.
    pub issuer: String,
    /// Whom they are about; none: anybody.
    pub subject: Option<ClaimPattern>,
    /// What they claim beside that: all of it.
    pub claims: Vec<(String, ClaimPattern)>,
}

/// Registries that a grant is about, in every form that their hosts have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryPattern {
    /// Amazon ECR Public.
    Public,
    /// Private registries.
    Private {
        /// Of these accounts.
        accounts: Accounts,
        /// In these regions.
        regions: Vec<LabelPattern>,
    },
}

/// Accounts that a grant is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accounts {
    /// Every account, also one that is not known before AWS is asked.
    Any,
    /// These.
    Of(Vec<AccountId>),
}

/// What is decided about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision<'a> {
    /// The caller may have it.
    Allow {
        /// Why; none where no grants are configured.
        grant: Option<&'a Grant>,
    },
    /// The caller may not.
    Deny {
        /// The grant that says so; none where no grant allows it.
        grant: Option<&'a Grant>,
    },
}

impl Policy {
    /// Whether `caller` should have the credentials of `registry`. An empty `profile`: of whichever profile.
    #[must_use]
    pub fn decide(&self, caller: &Caller, registry: &Registry, profile: &str) -> Decision<'_> {
        if *self == Self::Open {
            return Decision::Allow { grant: None };
        }
        let of = |effect| self.grants().iter().filter(move |grant| grant.effect == effect && grant.is_about(caller));
        let allowed = of(Effect::Allow).find(|grant| grant.covers(registry, profile));
        let profile = allowed.and_then(|grant| grant.profile.as_ref()).map_or(profile, ProfileName::as_str);
        let denied = of(Effect::Deny).find(|grant| grant.could_be_about(registry, profile));
        match (denied, allowed) {
            (None, Some(grant)) => Decision::Allow { grant: Some(grant) },
            (denied, _) => Decision::Deny { grant: denied },
        }
    }

    /// The grants that are about a caller, in their order.
    pub fn grants_of<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = &'a Grant> {
        self.grants().iter().filter(move |grant| grant.is_about(caller))
    }

    /// The profiles by which somebody may have a registry's credentials.
    #[must_use]
    pub fn profiles_for(&self, registry: &Registry) -> BTreeSet<ProfileName> {
        let default = ProfileName::default_profile;
        if *self == Self::Open {
            return BTreeSet::from([default()]);
        }
        let allows = self.grants().iter().filter(|grant| grant.effect == Effect::Allow && grant.is_for(registry));
        allows.map(|grant| grant.profile.clone().unwrap_or_else(default)).collect()
    }

    /// All of them; none where none are configured.
    #[must_use]
    pub fn grants(&self) -> &[Grant] {
        match self {
            Self::Open => &[],
            Self::Grants(grants) | Self::Observed(grants) => grants,
        }
    }

    /// Whether whoever is let in is given everything.
    #[must_use]
    pub fn gives_everything(&self) -> bool {
        *self == Self::Open || self.is_observed()
    }

    /// Whether what it denies is given all the same.
    #[must_use]
    pub fn is_observed(&self) -> bool {
        matches!(self, Self::Observed(_))
    }
}

impl Grant {
    /// Whether it is about a registry, whoever asks and by whichever profile.
    fn is_for(&self, registry: &Registry) -> bool {
        self.registries.iter().any(|pattern| pattern.covers(registry))
    }

    fn is_about(&self, caller: &Caller) -> bool {
        self.callers.iter().any(|pattern| pattern.matches(caller))
    }

    /// Whether the whole request is within the grant.
    fn covers(&self, registry: &Registry, profile: &str) -> bool {
        self.has_profile(profile) && self.registries.iter().any(|pattern| pattern.covers(registry))
    }

    /// Whether a part of what the request may turn out to be is within the grant.
    fn could_be_about(&self, registry: &Registry, profile: &str) -> bool {
        let profile = profile.is_empty() || self.profile.is_none() || self.has_profile(profile);
        profile && self.registries.iter().any(|pattern| pattern.could_be(registry))
    }

    fn has_profile(&self, profile: &str) -> bool {
        profile.is_empty() || self.profile.as_ref().is_some_and(|own| own.as_str() == profile)
    }
}

impl CallerPattern {
    fn matches(&self, caller: &Caller) -> bool {
        match (self, caller) {
            (Self::Uid(wanted), Caller::Process { uid, .. }) => wanted == uid,
            (Self::Gid(wanted), Caller::Process { gid, .. }) => wanted == gid,
            (Self::Loopback, Caller::Loopback) | (Self::AwsApi, Caller::AwsApi) => true,
            (Self::Spiffe(pattern), Caller::Spiffe(id)) => pattern.matches(id),
            (Self::Dns(wanted), Caller::Dns(name)) => wanted == name,
            (Self::Token(pattern), Caller::Token(token)) => pattern.matches(token),
            (
                Self::Uid(_)
                | Self::Gid(_)
                | Self::Loopback
                | Self::AwsApi
                | Self::Spiffe(_)
                | Self::Dns(_)
                | Self::Token(_),
                _,
            ) => false,
        }
    }

    /// Whether everybody whom the other is about is among those whom this is about.
    fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Spiffe(outer), Self::Spiffe(inner)) => outer.contains(inner),
            (Self::Token(outer), Self::Token(inner)) => outer.contains(inner),
            _ => self == other,
        }
    }
}

impl TokenPattern {
    /// A claim that the token does not make is not met.
    fn matches(&self, token: &TokenCaller) -> bool {
        self.issuer == token.issuer
            && self.subject.as_ref().is_none_or(|pattern| pattern.matches(&token.subject))
            && self
                .claims
                .iter()
                .all(|(name, pattern)| token.claims.get(name).is_some_and(|text| pattern.matches(text)))
    }

    /// Whether it asks for no more than the other does.
    fn contains(&self, other: &Self) -> bool {
        self.issuer == other.issuer
            && self
                .subject
                .as_ref()
                .is_none_or(|outer| other.subject.as_ref().is_some_and(|inner| outer.contains(inner)))
            && self
                .claims
                .iter()
                .all(|(name, outer)| other.claims.iter().any(|(own, inner)| own == name && outer.contains(inner)))
    }
}

impl RegistryPattern {
    /// Every private registry.
    #[must_use]
    pub fn every_private() -> Self {
        Self::Private { accounts: Accounts::Any, regions: vec![LabelPattern::everything()] }
    }

    /// The hosts, in all their forms; in a label, `*` stands for whatever follows.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        let Self::Private { accounts, regions } = self else {
            return Registry::PUBLIC_HOSTS.map(str::to_owned).into();
        };
        let accounts = match accounts {
            Accounts::Any => vec!["*".to_owned()],
            Accounts::Of(accounts) => accounts.iter().map(ToString::to_string).collect(),
        };
        let of_region = |region: &LabelPattern| {
            let region = region.to_string();
            accounts.iter().flat_map(|account| Registry::host_patterns(account, &region)).collect::<Vec<_>>()
        };
        regions.iter().flat_map(of_region).collect()
    }

    fn covers(&self, registry: &Registry) -> bool {
        match (self, registry) {
            (Self::Public, Registry::Public { .. }) => true,
            (Self::Private { accounts, regions }, Registry::Private(private)) => {
                accounts.cover(private.account()) && in_region(regions, private)
            }
            (Self::Public, Registry::Private(_)) | (Self::Private { .. }, Registry::Public { .. }) => false,
        }
    }

    /// An account that is not known yet may be any.
    fn could_be(&self, registry: &Registry) -> bool {
        match (self, registry) {
            (Self::Private { regions, .. }, Registry::Private(private)) if private.account().is_none() => {
                in_region(regions, private)
            }
            _ => self.covers(registry),
        }
    }
}

impl Accounts {
    fn cover(&self, account: Option<AccountId>) -> bool {
        match self {
            Self::Any => true,
            Self::Of(accounts) => account.is_some_and(|account| accounts.contains(&account)),
        }
    }
}

fn in_region(regions: &[LabelPattern], private: &PrivateRegistry) -> bool {
    regions.iter().any(|pattern| pattern.matches(private.region().as_str()))
}

#[cfg(test)]
mod tests;
