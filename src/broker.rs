//! The broker: authorizes a request, finds the credential in the cache, and releases it once the audit log has a record.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use self::active_policy::{ActivePolicy, ActiveSettings};
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
use crate::policy::{Listing, Policy};
use crate::profile::{ActiveProfiles, ProfileSet};
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

pub use self::active_policy::Reloaded;
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
    /// Regions outside AWS's table that settings name which a reload does not replace.
    regions: NamedRegions,
    profiles: ActiveProfiles,
    issuers: Option<Arc<Issuers>>,
    metrics: Arc<Metrics>,
}

/// Settings of a broker.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The grants.
    pub policy: Policy,
    /// The IAM roles that mint credentials, beside the broker's own identity.
    pub profiles: ActiveProfiles,
    /// The parent brokers, of which some may decide about each caller.
    pub parents: Vec<parent::Settings>,
    /// The region of requests that name none.
    pub region: Option<Region>,
    /// Regions that callers may name, beside those of AWS, of the grants and of the aliases.
    pub regions: Vec<Region>,
    /// Other hosts under which registries are requested.
    pub aliases: Aliases,
    /// Registries whose credentials are refreshed without requests: callers may name their regions.
    pub keep_warm: Vec<crate::registry::Registry>,
    /// The accepted issuers of bearer tokens. They keep only those claims of a token by which the active policy decides.
    pub issuers: Option<Arc<Issuers>>,
    /// Fingerprint of the whole configuration; empty: it is not known.
    pub config: String,
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
            keep_warm,
            issuers,
            config,
            max_min_validity,
            loopback_operates,
            instance,
        } = settings;
        let limits = authorize::Settings { max_min_validity, loopback_operates, instance };
        cache.follow_profiles(profiles.clone());
        let issuer_ids = issuers.as_ref().map(|issuers| issuers.ids());
        let active = ActiveSettings::new(profiles.set().into(), aliases, &keep_warm, (issuer_ids, config));
        if let Some(issuers) = &issuers {
            issuers.keep_claims(policy.claim_names());
        }
        let releaser = Releaser::new(rejections.audit_log().cloned());
        let authorizer = Authorizer::new(policy, (active, Forwarding::new(parents)), limits, rejections);
        authorizer.register(registry);
        Self {
            cache,
            releaser,
            authorizer,
            regions: regions.into_iter().chain(region.clone()).collect(),
            region,
            profiles,
            issuers,
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
    #[expect(clippy::must_use_candidate, reason = "the name is for the log")]
    pub fn set_policy(&self, policy: Policy) -> String {
        let settings = Arc::clone(&self.authorizer.active_policy().settings);
        self.activate(ActivePolicy::new(policy, settings))
    }

    /// Replaces all that can be reloaded in one step, and drops the credentials of profiles that have changed. Requests in flight end
    /// by what they began with. Returns the name of the new policy in the audit log, and the number of dropped credentials.
    pub async fn reload(&self, reloaded: Reloaded) -> (String, usize) {
        let Reloaded { policy, profiles, aliases, issuers, keep_warm, config } = reloaded;
        self.profiles.replace(profiles);
        let profiles = self.profiles.set();
        let issuer_ids = match (&self.issuers, issuers) {
            (Some(active), Some(loaded)) => {
                let ids = loaded.ids();
                active.activate(loaded);
                Some(ids)
            }
            (active, _) => active.as_ref().map(|active| active.ids()),
        };
        let settings = ActiveSettings::new(profiles.into(), aliases, &keep_warm, (issuer_ids, config));
        let name = self.activate(ActivePolicy::new(policy, Arc::new(settings)));
        (name, self.cache.drop_retired().await)
    }

    fn activate(&self, active: ActivePolicy) -> String {
        let (name, claims) = (active.name.clone(), active.claim_names.clone());
        // Tokens that are verified meanwhile have the claims of both, so that either policy can decide.
        self.keep_claims(self.authorizer.active_policy().claim_names.and(&claims));
        self.authorizer.activate(active);
        self.keep_claims(claims);
        name
    }

    fn keep_claims(&self, names: ClaimNames) {
        if let Some(issuers) = &self.issuers {
            issuers.keep_claims(names);
        }
    }

    /// Lists up to `size` hosts and patterns that a caller may request, from the one after `after` on. Calls no source.
    #[must_use]
    pub fn registries(&self, caller: &Caller, after: Option<&Listing>, size: usize) -> ListPage {
        self.lister(&self.authorizer.active_policy()).page(caller, after, size)
    }

    /// Lists the registries that a caller's grants name by a whole host, and the aliases of all registries that it may have.
    ///
    /// Only registries that the caller may have without naming a profile count.
    #[must_use]
    pub fn named_registries(&self, caller: &Caller) -> BTreeSet<ResolvedRegistry> {
        self.lister(&self.authorizer.active_policy()).named_registries(caller)
    }

    fn lister<'a>(&'a self, active: &'a ActivePolicy) -> Lister<'a> {
        let (policy, aliases) = (&active.policy, &active.settings.aliases);
        let profiles = active.profiles();
        Lister { policy, profiles, forwarding: self.authorizer.forwarding(), aliases, cache: &self.cache }
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

    /// Returns the accepted issuers of bearer tokens; `None`: no tokens are accepted.
    #[must_use]
    pub fn issuers(&self) -> Option<Arc<Issuers>> {
        self.issuers.clone()
    }

    /// Returns the profiles in effect.
    #[must_use]
    pub fn profiles(&self) -> Arc<ProfileSet> {
        self.profiles.set()
    }

    /// Resolves the host, URL or image reference of a request.
    ///
    /// # Errors
    /// If it names neither an ECR registry nor an alias, or a region that the broker does not know.
    pub fn resolve(&self, text: &str) -> Result<ResolvedRegistry, RegistryError> {
        let target = self.authorizer.active_policy().settings.aliases.resolve(text)?;
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
        if region.is_known() {
            return Ok(());
        }
        let active = self.authorizer.active_policy();
        self.regions.check(region, [&active.regions, &active.settings.regions])
    }

    /// Returns the region of requests that name none.
    #[must_use]
    pub fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }
}
