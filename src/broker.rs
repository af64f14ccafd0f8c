//! The use case, on one screen: who wants a credential for what, and whether they get it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tracing::info;

use crate::cache::{CredentialCache, Found, Lookup};
use crate::caller::Caller;
use crate::credential::{Credential, CredentialId, CredentialKey, ProfileName};
use crate::error::BrokerError;
use crate::policy::{Decision, Effect, Grant, Policy, RegistryPattern};
use crate::registry::{AccountId, Region, Registry};
use crate::request_id::RequestId;

/// What the broker may give, and from where.
#[derive(Debug)]
pub struct Broker {
    cache: CredentialCache,
    policy: ArcSwap<Policy>,
    region: Option<Region>,
    max_min_validity: Duration,
}

/// One request, understood.
#[derive(Debug, Clone)]
pub struct CredentialRequest {
    /// Who asks.
    pub caller: Caller,
    /// Which registry.
    pub registry: Registry,
    /// Which profile; empty: the broker chooses.
    pub profile: String,
    /// How long the credential must last.
    pub min_validity: Duration,
    /// The credential that the registry refused.
    pub rejected: Option<CredentialId>,
    /// The request's name.
    pub request: RequestId,
}

/// A credential, and which registry it turned out to be for.
#[derive(Debug, Clone)]
pub struct Released {
    /// The credential, and how it was come by.
    pub found: Found,
    /// What it was found under.
    pub key: CredentialKey,
    /// The registry's host.
    pub host: String,
    /// The account, for a private registry.
    pub account: Option<AccountId>,
}

/// Something that a caller may ask for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listing {
    /// Whether `name` is a pattern of hosts rather than a host.
    pub is_pattern: bool,
    /// The host or pattern.
    pub name: String,
    /// Which profile would mint the credential.
    pub profile: ProfileName,
}

impl Broker {
    /// A broker over `cache`. `region` is for requests that name none.
    #[must_use]
    pub fn new(cache: CredentialCache, policy: Policy, region: Option<Region>, max_min_validity: Duration) -> Self {
        Self { cache, policy: ArcSwap::from_pointee(policy), region, max_min_validity }
    }

    /// Goes by another policy from now on; decisions under way end by the one they began with.
    pub fn set_policy(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    /// The region of requests that name none.
    #[must_use]
    pub fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }

    /// The credential of one registry.
    ///
    /// # Errors
    /// Where the caller may not have it, the request asks for what there is not, or AWS gives nothing.
    pub async fn registry_credentials(&self, request: CredentialRequest) -> Result<Released, BrokerError> {
        let profile = self.authorize(&request)?;
        self.check_validity(request.min_validity)?;
        let key = CredentialKey { registry: request.registry, profile };
        let found = self
            .cache
            .get(Lookup {
                key: key.clone(),
                min_validity: request.min_validity,
                rejected: request.rejected,
                request: request.request,
            })
            .await?;
        let account = account(&key.registry, &found.credential);
        let host = host(&key.registry, account).ok_or(BrokerError::Bug)?;
        Ok(Released { found, key, host, account })
    }

    /// What a caller may ask for, with the end of what is cached. Asks nobody.
    #[must_use]
    pub fn registries(&self, caller: Caller) -> BTreeMap<Listing, Option<SystemTime>> {
        let policy = self.policy.load();
        let mut listings: BTreeMap<_, _> = grantable(&policy, caller).map(|listing| (listing, None)).collect();
        for (key, credential) in self.cache.held() {
            let Some(name) = host(&key.registry, account(&key.registry, &credential)) else { continue };
            if is_allowed(&policy, caller, &key.registry, &key.profile) {
                let listing = Listing { is_pattern: false, name, profile: key.profile };
                let end: &mut Option<SystemTime> = listings.entry(listing).or_default();
                *end = (*end).max(Some(credential.expires()));
            }
        }
        listings
    }

    /// The grants that are about a caller.
    #[must_use]
    pub fn grants_of(&self, caller: Caller) -> Vec<String> {
        self.policy.load().grants_of(caller).map(|grant| grant.id.clone()).collect()
    }

    /// Which profile mints the credential, if the caller may have it. Why not is for the log: the caller learns only that.
    fn authorize(&self, request: &CredentialRequest) -> Result<ProfileName, BrokerError> {
        let CredentialRequest { caller, registry, profile, request: id, .. } = request;
        match self.policy.load().decide(*caller, registry, profile) {
            Decision::Allow { grant: None } => known_profile(profile),
            Decision::Allow { grant: Some(grant) } => {
                Ok(grant.profile.clone().unwrap_or_else(ProfileName::default_profile))
            }
            Decision::Deny { grant } => {
                info!(request_id = %id, %caller, denied_by = grant.map_or("no grant allows it", |grant| &grant.id), "denied");
                Err(BrokerError::CallerNotAllowed)
            }
        }
    }

    /// Nobody can make the broker mint a token a second by asking for one that lasts as long as a new one does.
    fn check_validity(&self, asked: Duration) -> Result<(), BrokerError> {
        if asked <= self.max_min_validity {
            return Ok(());
        }
        let limit = humantime::format_duration(self.max_min_validity);
        let limit = format!("the broker is configured to promise at most {limit} (cache.max_min_validity)");
        Err(BrokerError::ValidityUnsatisfiable { asked: asked.into(), limit })
    }
}

fn is_allowed(policy: &Policy, caller: Caller, registry: &Registry, profile: &ProfileName) -> bool {
    matches!(policy.decide(caller, registry, profile.as_str()), Decision::Allow { .. })
}

/// What a policy gives a caller, host by host and pattern by pattern. What a deny takes from a pattern is not in it: hosts that
/// are named are left out, patterns stand as they were granted.
fn grantable(policy: &Policy, caller: Caller) -> impl Iterator<Item = Listing> {
    granted(policy, caller).into_iter().flat_map(move |(pattern, profile)| {
        let listing = |name: String| Listing { is_pattern: name.contains('*'), name, profile: profile.clone() };
        let listings: Vec<_> = pattern.hosts().into_iter().map(listing).collect();
        listings.into_iter().filter(move |one| {
            let registry = one.name.parse();
            registry.map_or(one.is_pattern, |registry| is_allowed(policy, caller, &registry, &one.profile))
        })
    })
}

/// The registries of a caller's allows, and the profile of each.
fn granted(policy: &Policy, caller: Caller) -> Vec<(RegistryPattern, ProfileName)> {
    let default = ProfileName::default_profile;
    match policy {
        Policy::Open => [RegistryPattern::Public, RegistryPattern::every_private()].map(|one| (one, default())).into(),
        Policy::Grants(_) => {
            let allows = policy.grants_of(caller).filter(|grant| grant.effect == Effect::Allow);
            let of_one = |grant: &Grant| {
                let profile = grant.profile.clone().unwrap_or_else(default);
                grant.registries.iter().map(|one| (one.clone(), profile.clone())).collect::<Vec<_>>()
            };
            allows.flat_map(of_one).collect()
        }
    }
}

/// Where there are no grants, a profile is a name that the caller chooses.
fn known_profile(asked: &str) -> Result<ProfileName, BrokerError> {
    let default = ProfileName::default_profile();
    if asked.is_empty() || asked == default.as_str() {
        return Ok(default);
    }
    Err(BrokerError::ProfileUnknown { profile: asked.to_owned(), known: default.to_string() })
}

/// The account that was asked for, else the one that AWS named; the public registry has none.
fn account(registry: &Registry, credential: &Credential) -> Option<AccountId> {
    match registry {
        Registry::Private(private) => private.account().or_else(|| credential.account()),
        Registry::Public { .. } => None,
    }
}

fn host(registry: &Registry, account: Option<AccountId>) -> Option<String> {
    match registry {
        Registry::Private(private) => account.map(|account| private.host(account)),
        Registry::Public { .. } => registry.host(),
    }
}
