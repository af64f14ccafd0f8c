//! The use case, on one screen: who wants a credential for what, and whether they get it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::cache::{CredentialCache, Found, Lookup};
use crate::credential::{Credential, CredentialId, CredentialKey, ProfileName};
use crate::error::BrokerError;
use crate::registry::{AccountId, Region, Registry};
use crate::request_id::RequestId;

/// What the broker may give, and from where.
#[derive(Debug)]
pub struct Broker {
    cache: CredentialCache,
    region: Option<Region>,
    max_min_validity: Duration,
}

/// One request, understood.
#[derive(Debug, Clone)]
pub struct CredentialRequest {
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
    pub fn new(cache: CredentialCache, region: Option<Region>, max_min_validity: Duration) -> Self {
        Self { cache, region, max_min_validity }
    }

    /// The region of requests that name none.
    #[must_use]
    pub fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }

    /// The credential of one registry.
    ///
    /// # Errors
    /// Where the request asks for what there is not, or AWS gives nothing.
    pub async fn registry_credentials(&self, request: CredentialRequest) -> Result<Released, BrokerError> {
        let profile = profile(&request.profile)?;
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

    /// What can be asked for, with the end of what is cached. Asks nobody.
    #[must_use]
    pub fn registries(&self) -> BTreeMap<Listing, Option<SystemTime>> {
        let mut listings = BTreeMap::new();
        for (key, credential) in self.cache.held() {
            let Some(name) = host(&key.registry, account(&key.registry, &credential)) else { continue };
            let end: &mut Option<SystemTime> =
                listings.entry(Listing { is_pattern: false, name, profile: key.profile }).or_default();
            *end = (*end).max(Some(credential.expires()));
        }
        let profile = ProfileName::default_profile();
        for name in Registry::PUBLIC_HOSTS {
            let listing = Listing { is_pattern: false, name: name.to_owned(), profile: profile.clone() };
            listings.entry(listing).or_default();
        }
        for name in Registry::patterns() {
            listings.insert(Listing { is_pattern: true, name, profile: profile.clone() }, None);
        }
        listings
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

fn profile(asked: &str) -> Result<ProfileName, BrokerError> {
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
