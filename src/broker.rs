//! The use case, on one screen: who wants a credential for what, and whether they get it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use tracing::{field, info};

use crate::audit::{AuditLog, Outcome, Record, Unwritten};
use crate::cache::{CredentialCache, Found, Lookup};
use crate::caller::Caller;
use crate::credential::{Credential, CredentialKey, ProfileName};
use crate::error::BrokerError;
use crate::policy::{Decision, Grant, Listing, Policy};
use crate::profile::Profile;
use crate::quoted::Quoted;
use crate::registry::{AccountId, Aliases, Region, Registry, ResolvedRegistry};

mod keep_warm;
mod request;
mod watch;

pub use self::request::{CredentialRequest, RequestContext};
pub use self::watch::{Watch, WatchUpdate};

/// What the broker may give, and from where.
#[derive(Debug)]
pub struct Broker {
    cache: CredentialCache,
    policy: ArcSwap<ActivePolicy>,
    audit: Option<AuditLog>,
    profiles: Vec<Profile>,
    region: Option<Region>,
    aliases: Aliases,
    max_min_validity: Duration,
}

/// What a broker goes by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who may have what.
    pub policy: Policy,
    /// How credentials are minted, other than by the broker's own identity.
    pub profiles: Vec<Profile>,
    /// The region of requests that name none.
    pub region: Option<Region>,
    /// Names of one's own for registries.
    pub aliases: Aliases,
    /// The most that a caller may ask a credential to last.
    pub max_min_validity: Duration,
}

/// A policy, and what the audit log calls it.
#[derive(Debug)]
struct ActivePolicy {
    policy: Policy,
    name: String,
}

/// That a request may be served, and why.
#[derive(Debug, Clone)]
struct Authorized {
    profile: ProfileName,
    grant: Option<String>,
    policy: Arc<ActivePolicy>,
    outcome: Outcome,
}

/// A request that may be served, and what it is to be served with.
#[derive(Debug, Clone)]
struct Authorization {
    authorized: Authorized,
    key: CredentialKey,
}

/// A credential, and which registry it turned out to be for.
#[derive(Debug, Clone)]
pub struct Released {
    /// The credential, and how it was come by.
    pub found: Found,
    /// What it was found under.
    pub key: CredentialKey,
    /// The registry's host, or the name of one's own by which it was asked for.
    pub host: String,
    /// The account, for a private registry.
    pub account: Option<AccountId>,
}

impl Broker {
    /// A broker over `cache`, which records what it does in `audit`, where there is one.
    #[must_use]
    pub fn new(cache: CredentialCache, settings: Settings, audit: Option<AuditLog>) -> Self {
        let Settings { policy, profiles, region, aliases, max_min_validity } = settings;
        Self {
            cache,
            policy: ArcSwap::from_pointee(ActivePolicy::new(policy, &profiles)),
            audit,
            profiles,
            region,
            aliases,
            max_min_validity,
        }
    }

    /// Goes by another policy from now on; decisions under way end by the one they began with.
    /// What comes back is the name that the audit log has for it.
    pub fn set_policy(&self, policy: Policy) -> String {
        let in_force = ActivePolicy::new(policy, &self.profiles);
        let name = in_force.name.clone();
        self.policy.store(Arc::new(in_force));
        name
    }

    /// The profiles that the broker was started with.
    #[must_use]
    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// Whether no grants are configured, and everybody may have everything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.policy.load().policy == Policy::Open
    }

    /// Whether what the grants deny is given all the same.
    #[must_use]
    pub fn is_observing(&self) -> bool {
        self.policy.load().policy.is_observed()
    }

    /// Names of one's own for registries.
    #[must_use]
    pub fn aliases(&self) -> &Aliases {
        &self.aliases
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
        let permit = self.permit(&request, self.policy.load_full()).await?;
        let found = self.cache.get(lookup(&request, &permit.key)).await?;
        self.release(&request, permit, found).await
    }

    /// What a caller may ask for, with the end of what is cached. Asks nobody.
    #[must_use]
    pub fn registries(&self, caller: &Caller) -> BTreeMap<Listing, Option<SystemTime>> {
        let in_force = self.policy.load();
        let policy = &in_force.policy;
        let mut listings: BTreeMap<_, _> = policy.listings(caller).map(|listing| (listing, None)).collect();
        for (alias, _, profile) in self.aliases_for(policy, caller) {
            listings.insert(Listing { is_pattern: false, name: alias.to_owned(), profile }, None);
        }
        for (key, credential) in self.cache.held() {
            let Some(host) = host(&key.registry, account(&key.registry, &credential)) else { continue };
            let theirs = key.caller.as_ref().is_none_or(|own| *own == caller.principal());
            if theirs && policy.allows(caller, &key.registry, &key.profile) {
                let aliases = self.aliases.iter().filter(|(_, registry)| **registry == key.registry);
                for name in aliases.map(|(alias, _)| alias.to_owned()).chain([host]) {
                    let listing = Listing { is_pattern: false, name, profile: key.profile.clone() };
                    let end: &mut Option<SystemTime> = listings.entry(listing).or_default();
                    *end = (*end).max(Some(credential.expires()));
                }
            }
        }
        listings
    }

    /// The aliases of what a caller may have, and by which profile it would.
    fn aliases_for<'a>(
        &'a self,
        policy: &'a Policy,
        caller: &'a Caller,
    ) -> impl Iterator<Item = (&'a str, &'a Registry, ProfileName)> {
        let chosen = |registry| policy.chosen_profile(caller, registry);
        self.aliases.iter().filter_map(move |(alias, registry)| Some((alias, registry, chosen(registry)?)))
    }

    /// The registries that a caller may have without naming a profile and that its grants name, by their plain hosts, and aliases of what it may
    /// have.
    #[must_use]
    pub fn named_registries(&self, caller: &Caller) -> BTreeSet<ResolvedRegistry> {
        let in_force = self.policy.load();
        let policy = &in_force.policy;
        let aliases = self.aliases_for(policy, caller);
        let aliases = aliases
            .map(|(alias, registry, _)| ResolvedRegistry { registry: registry.clone(), alias: Some(alias.into()) });
        policy.named_registries(caller).map(ResolvedRegistry::from).chain(aliases).collect()
    }

    /// The grants that are about a caller.
    #[must_use]
    pub fn grants_of(&self, caller: &Caller) -> Vec<String> {
        self.policy.load().policy.grants_of(caller).map(|grant| grant.id.clone()).collect()
    }

    /// Whether a request is to be served, and by what.
    async fn permit(
        &self,
        request: &CredentialRequest,
        policy: Arc<ActivePolicy>,
    ) -> Result<Authorization, BrokerError> {
        let authorized = self.authorize(request, policy).await?;
        self.check_account(&request.target.registry, &authorized.profile)?;
        self.check_validity(request.min_validity)?;
        let key = CredentialKey {
            registry: request.target.registry.clone(),
            profile: authorized.profile.clone(),
            caller: self
                .profile(&authorized.profile)
                .and_then(|profile| profile.attributed_to(&request.context.caller)),
        };
        Ok(Authorization { authorized, key })
    }

    /// Lets a credential go out, once that is on record.
    async fn release(
        &self,
        request: &CredentialRequest,
        Authorization { authorized, key }: Authorization,
        found: Found,
    ) -> Result<Released, BrokerError> {
        let account = account(&key.registry, &found.credential);
        let host = host(&key.registry, account).ok_or(BrokerError::Internal)?;
        self.record_release(request, &authorized, &key, (&host, &found)).await?;
        let host = request.target.alias.as_ref().map_or(host, ToString::to_string);
        Ok(Released { found, key, host, account })
    }

    /// Whether the caller may have it, and by which profile. Why not is for the log: the caller learns only that.
    async fn authorize(
        &self,
        request: &CredentialRequest,
        policy: Arc<ActivePolicy>,
    ) -> Result<Authorized, BrokerError> {
        let authorized = |profile, grant: Option<&Grant>, outcome| {
            let grant = grant.map(|grant| grant.id.clone());
            Ok(Authorized { profile, grant, policy: Arc::clone(&policy), outcome })
        };
        match policy.policy.decide(&request.context.caller, &request.target.registry, &request.profile) {
            Decision::Allow { grant: None } => {
                authorized(self.known_profile(&request.profile)?, None, Outcome::Released)
            }
            Decision::Allow { grant: Some(grant) } => {
                let profile = grant.profile.clone().unwrap_or_else(ProfileName::default_profile);
                authorized(profile, Some(grant), Outcome::Released)
            }
            Decision::Deny { grant } => {
                let known = self.known_profile(&request.profile);
                if let (true, Ok(profile)) = (policy.policy.is_observed(), known) {
                    report_denial(request, grant, "would be denied, were policy.mode not observe");
                    return authorized(profile, grant, Outcome::Observed);
                }
                report_denial(request, grant, "denied");
                self.record_denial(request, grant, &policy.name).await;
                Err(BrokerError::CallerNotAllowed)
            }
        }
    }

    /// P11: nothing is released that is not on record.
    async fn record_release(
        &self,
        request: &CredentialRequest,
        authorized: &Authorized,
        key: &CredentialKey,
        (host, found): (&str, &Found),
    ) -> Result<(), BrokerError> {
        let Some(audit) = &self.audit else { return Ok(()) };
        let profile = self.profile(&key.profile);
        let record = Record {
            registry: Some(host.to_owned()),
            profile: key.profile.as_str(),
            role_session: profile.map(|profile| profile.session_name(key.caller.as_ref())),
            grant: authorized.grant.as_deref(),
            credential_id: Some(found.credential.id().to_string()),
            aws_request_id: found.credential.aws_request_id(),
            ..record(request, authorized.outcome, &authorized.policy.name)
        };
        audit.write(&record).await.map_err(|Unwritten| BrokerError::AuditUnavailable)
    }

    /// A denial that cannot be recorded is a denial all the same.
    async fn record_denial(&self, request: &CredentialRequest, grant: Option<&Grant>, policy: &str) {
        if let Some(audit) = &self.audit {
            let grant = grant.map(|grant| grant.id.as_str());
            audit.write_denial(&Record { grant, ..record(request, Outcome::Denied, policy) }).await;
        }
    }

    /// How a profile mints; none for the broker's own identity.
    fn profile(&self, name: &ProfileName) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == *name)
    }

    /// Where there are no grants, a profile is a name that the caller chooses.
    fn known_profile(&self, asked: &str) -> Result<ProfileName, BrokerError> {
        let default = ProfileName::default_profile();
        if asked.is_empty() {
            return Ok(default);
        }
        let mut known = std::iter::once(&default).chain(self.profiles.iter().map(|profile| &profile.name));
        known.clone().find(|name| name.as_str() == asked).cloned().ok_or_else(|| {
            let known = known.by_ref().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            BrokerError::ProfileUnknown { profile: asked.to_owned(), known }
        })
    }

    /// A role of the registry's own account can be named only where that is known.
    fn check_account(&self, registry: &Registry, profile: &ProfileName) -> Result<(), BrokerError> {
        let needs = self.profile(profile).is_some_and(Profile::needs_account);
        if !needs || registry.account().is_some() {
            return Ok(());
        }
        let problem =
            format!("profile {profile} has a role in the registry's own account, so the account must be named");
        Err(BrokerError::RequestInvalid { field: "private_registry.account_id", problem })
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

impl ActivePolicy {
    /// The same grants and profiles have the same name in every broker of this version.
    fn new(policy: Policy, profiles: &[Profile]) -> Self {
        let digest = Sha256::digest(format!("{policy:?} {profiles:?}"));
        Self { policy, name: HEXLOWER.encode(&digest[..8]) }
    }
}

fn lookup(request: &CredentialRequest, key: &CredentialKey) -> Lookup {
    Lookup {
        key: key.clone(),
        min_validity: request.min_validity,
        rejected: request.rejected,
        request: request.context.id,
        caller: Some(request.context.caller.clone()),
    }
}

/// One line with the reason, which the caller is not told.
fn report_denial(request: &CredentialRequest, grant: Option<&Grant>, outcome: &'static str) {
    info!(
        request_id = %request.context.id,
        trace_id = request.context.trace_id,
        caller = %request.context.caller,
        registry = request.target.registry.host(),
        alias = request.target.alias,
        account_id = request.target.registry.account().map(field::display),
        region = request.target.registry.region().map(field::display),
        profile = %Quoted(&request.profile),
        denied_by = grant.map_or("no grant allows it", |grant| &grant.id),
        "{outcome}"
    );
}

/// What is known of a request before it is decided.
fn record<'a>(request: &'a CredentialRequest, outcome: Outcome, policy: &'a str) -> Record<'a> {
    Record {
        request_id: request.context.id.to_string(),
        trace_id: request.context.trace_id.clone(),
        caller: request.context.caller.to_string(),
        proof: request.context.caller.proof(),
        outcome,
        account_id: request.target.registry.account().map(|account| account.to_string()),
        region: request.target.registry.region().map(Region::as_str),
        registry: request.target.registry.host(),
        alias: request.target.alias.as_deref(),
        profile: if request.profile.len() <= ProfileName::LONGEST { &request.profile } else { "(too long)" },
        role_session: None,
        grant: None,
        policy,
        credential_id: None,
        aws_request_id: None,
    }
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
