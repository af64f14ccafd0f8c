//! The broker: authorizes a request, finds the credential in the cache, and releases it once the audit log has a record.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use self::authorize::Authorizer;
use self::forwarding::Forwarding;
use self::listing::Lister;
use self::metrics::Metrics;
use self::regions::NamedRegions;
use self::release::Releaser;
use crate::authn::jwt::Issuers;
use crate::cache::CredentialCache;
use crate::caller::{Caller, ClaimNames};
use crate::error::BrokerError;
use crate::hops::InstanceId;
use crate::metrics::Registry;
use crate::policy::{IndexedPolicy, Listing, Policy};
use crate::profile::Profile;
use crate::registry::{Aliases, Region, RegistryError, ResolvedRegistry};
use crate::rejections::RejectionRecorder;
use crate::source::broker as parent;

mod active_policy;
mod authorization;
mod authorize;
mod batch;
mod forwarding;
mod keep_warm;
mod known_ids;
mod listing;
mod metrics;
mod operators;
mod owner;
mod profiles;
mod record;
mod regions;
mod release;
mod released;
mod repeat;
mod request;
mod watch;

pub use self::known_ids::KnownIds;
pub use self::listing::ListPage;
pub(crate) use self::metrics::Attempt;
pub use self::released::Released;
pub(crate) use self::repeat::PlainHit;
pub use self::request::{CredentialRequest, RequestContext};
pub use self::watch::{Watch, WatchUpdate};

/// The broker behind every front end.
#[derive(Debug)]
pub struct Broker {
    cache: CredentialCache,
    authorizer: Authorizer,
    releaser: Releaser,
    region: Option<Region>,
    /// Regions outside AWS's table that the configuration names beside its grants.
    regions: NamedRegions,
    aliases: Aliases,
    issuers: OnceLock<Arc<Issuers>>,
    metrics: Arc<Metrics>,
}

/// Settings of a broker.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The grants.
    pub policy: Policy,
    /// The IAM roles that mint credentials, beside the broker's own identity.
    pub profiles: Vec<Profile>,
    /// The parent brokers, of which some may decide about each caller.
    pub parents: Vec<parent::Settings>,
    /// The region of requests that name none.
    pub region: Option<Region>,
    /// Regions that callers may name, beside those of AWS, of the grants and of the aliases.
    pub regions: Vec<Region>,
    /// Other hosts under which registries are requested.
    pub aliases: Aliases,
    /// Upper limit of a request's `min_validity`.
    pub max_min_validity: Duration,
    /// Whether callers over loopback are operators, as of a broker for tests.
    pub loopback_operates: bool,
    /// The ID by which this broker knows its own requests.
    pub instance: InstanceId,
}

impl Broker {
    /// Returns a broker over `cache`. It records denials with `rejections`, and releases in the same audit log.
    #[must_use]
    pub fn new(
        cache: CredentialCache,
        settings: Settings,
        rejections: RejectionRecorder,
        registry: &mut Registry,
    ) -> Self {
        let Settings {
            policy,
            profiles,
            parents,
            region,
            regions,
            aliases,
            max_min_validity,
            loopback_operates,
            instance,
        } = settings;
        let limits = authorize::Settings { max_min_validity, loopback_operates, instance };
        Self {
            cache,
            releaser: Releaser::new(profiles.clone().into(), rejections.audit_log().cloned()),
            authorizer: Authorizer::new(policy, (profiles.into(), Forwarding::new(parents)), limits, rejections),
            regions: NamedRegions::new(regions.into_iter().chain(region.clone()), &aliases),
            region,
            aliases,
            issuers: OnceLock::new(),
            metrics: Arc::new(Metrics::new(registry)),
        }
    }

    /// Returns the credential of one registry.
    ///
    /// # Errors
    /// Returns why the request is denied or invalid, why AWS gave no credential, or that the audit log is unavailable.
    pub async fn registry_credentials(&self, request: CredentialRequest) -> Result<Released, BrokerError> {
        self.release(&request, false).await.map(|(released, _)| released)
    }

    /// Returns the credential of one registry and, if it was a plain hit, what later hits of the same request need.
    pub(crate) async fn repeatable_credentials(
        &self,
        request: CredentialRequest,
    ) -> Result<(Released, Option<PlainHit>), BrokerError> {
        self.release(&request, true).await
    }

    async fn release(
        &self,
        request: &CredentialRequest,
        is_repeatable: bool,
    ) -> Result<(Released, Option<PlainHit>), BrokerError> {
        let mut attempt = self.metrics.begin();
        let authorization = self.authorizer.authorize(request, self.authorizer.active_policy()).await;
        let authorization = authorization.inspect_err(|error| attempt.fail(error))?;
        let found = self.cache.get(authorization.lookup(request)).await?;
        let hit = if is_repeatable { self.plain_hit(request, &authorization, &found).await } else { None };
        let released = self.releaser.release(request, authorization, found).await?;
        attempt.release(&released.found);
        Ok((released, hit))
    }

    /// Checks that the caller of a request may read the broker's status.
    ///
    /// # Errors
    /// If it is not an operator, which is recorded.
    pub async fn authorize_operator(&self, context: &RequestContext) -> Result<(), BrokerError> {
        self.authorizer.authorize_operator(context).await
    }

    /// Returns the name of the active policy in the audit log: a fingerprint of the grants and profiles.
    #[must_use]
    pub fn policy_name(&self) -> String {
        self.authorizer.active_policy().name.clone()
    }

    /// Replaces the policy, and returns the name of the new one in the audit log. Decisions in progress keep the old policy.
    pub fn set_policy(&self, policy: Policy) -> String {
        // Tokens that are verified meanwhile have the claims of both, so that either policy can decide.
        self.keep_claims(self.authorizer.active_policy().claim_names.and(&policy.claim_names()));
        let name = self.authorizer.set_policy(policy);
        self.keep_claims(self.authorizer.active_policy().claim_names.clone());
        name
    }

    /// Has issuers keep only those claims of a token by which the active policy decides, from now on.
    pub fn filter_claims_of(&self, issuers: Arc<Issuers>) {
        issuers.keep_claims(self.authorizer.active_policy().claim_names.clone());
        _ = self.issuers.set(issuers);
    }

    fn keep_claims(&self, names: ClaimNames) {
        if let Some(issuers) = self.issuers.get() {
            issuers.keep_claims(names);
        }
    }

    /// Lists up to `size` hosts and patterns that a caller may request, from the one after `after` on. Calls no source.
    #[must_use]
    pub fn registries(&self, caller: &Caller, after: Option<&Listing>, size: usize) -> ListPage {
        self.lister(&self.authorizer.active_policy().policy).page(caller, after, size)
    }

    /// Lists the registries that a caller's grants name by a whole host, and the aliases of all registries that it may have.
    ///
    /// Only registries that the caller may have without naming a profile count.
    #[must_use]
    pub fn named_registries(&self, caller: &Caller) -> BTreeSet<ResolvedRegistry> {
        self.lister(&self.authorizer.active_policy().policy).named_registries(caller)
    }

    fn lister<'a>(&'a self, policy: &'a IndexedPolicy) -> Lister<'a> {
        Lister { policy, forwarding: self.authorizer.forwarding(), aliases: &self.aliases, cache: &self.cache }
    }

    /// Returns the IDs of the grants that apply to a caller, denials included.
    #[must_use]
    pub fn grants_of(&self, caller: &Caller) -> Vec<String> {
        self.authorizer.active_policy().policy.grants_of(caller).map(|grant| grant.id.clone()).collect()
    }

    /// Returns why the broker has no AWS credentials, if the caller may know: see `owner.rs`.
    #[must_use]
    pub fn identity_problems(&self, caller: &Caller) -> Vec<String> {
        if owner::is_owner(caller) { self.cache.identity_problems() } else { Vec::new() }
    }

    /// Returns whether no grants are configured, so that every caller may have every registry.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.authorizer.active_policy().policy.is_open()
    }

    /// Returns whether the policy is only observed: denials are logged, and the credentials released.
    #[must_use]
    pub fn is_observing(&self) -> bool {
        self.authorizer.active_policy().policy.is_observed()
    }

    /// Returns the profiles.
    #[must_use]
    pub fn profiles(&self) -> &[Profile] {
        self.authorizer.profiles().all()
    }

    /// Resolves the host, URL or image reference of a request.
    ///
    /// # Errors
    /// If it names neither an ECR registry nor an alias, or a region that the broker does not know.
    pub fn resolve(&self, text: &str) -> Result<ResolvedRegistry, RegistryError> {
        let target = self.aliases.resolve(text)?;
        match target.registry.region() {
            Some(region) => self.check_region(region).map(|()| target),
            None => Ok(target),
        }
    }

    /// Parses the region of a request.
    ///
    /// # Errors
    /// If it is malformed, or one that the broker does not know.
    pub fn parse_region(&self, text: &str) -> Result<Region, RegistryError> {
        let region = text.parse()?;
        self.check_region(&region).map(|()| region)
    }

    /// Checks that a region of a request is one of AWS's, or that the configuration names it.
    ///
    /// # Errors
    /// If it is not.
    pub fn check_region(&self, region: &Region) -> Result<(), RegistryError> {
        if region.is_known() { Ok(()) } else { self.regions.check(region, &self.authorizer.active_policy().regions) }
    }

    /// Returns the region of requests that name none.
    #[must_use]
    pub fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }
}
