//! AWS as a credential source: ECR and ECR Public, by the broker's own identity or by a profile's roles.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::ensure;

use self::answer_scope::AnswerScope;
use self::caller_identity::CallerIdentity;
use self::endpoints::Endpoints;
use self::error::misconfigured;
use self::identity::BrokerIdentity;
use self::sessions::RoleSessions;
use self::signer::Signer;
use self::sts_budget::StsBudget;
use super::{
    CredentialSource, FetchError, FetchRequest, Metrics, RegionStatus, SourceFuture, SourceIdentity, SourceStatus,
};
use crate::clock::Clock;
use crate::credential::{Credential, CredentialKey, ProfileName};
use crate::error::{FailureClass, SourceName, Stage, UpstreamError};
use crate::metrics;
use crate::profile::ActiveProfiles;
use crate::registry::Registry;
use crate::source::shared_cache::entry_key::EntryKeys;

pub mod account;
pub mod admission;
mod answer_scope;
pub mod ca_bundle;
mod caller_identity;
mod default_chain;
mod ecr;
mod ecr_public;
pub mod endpoint_url;
mod endpoints;
mod error;
mod http;
mod identity;
mod own_identity;
mod role;
mod sdk;
mod sessions;
mod settings;
mod signer;
mod signin;
mod sts;
mod sts_budget;
mod token;
pub mod web_identity;

pub use self::own_identity::{NO_IDENTITY, OwnIdentity};
pub use self::settings::{NO_REGION, Settings, Verification};

/// ECR and ECR Public behind one configuration.
#[derive(Debug)]
pub struct Aws {
    identity: BrokerIdentity,
    sessions: RoleSessions,
    endpoints: Endpoints,
    ecr_public_region: String,
    operation_timeout: Duration,
    clock: Arc<dyn Clock>,
    caller_identity: CallerIdentity,
}

impl Aws {
    /// Reads the SDK's environment and files. Makes no call to AWS and needs no credentials yet.
    ///
    /// # Errors
    /// The CA bundle cannot be used, or STS needs a region and there is none.
    pub async fn load(
        settings: Settings,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
        registry: &mut metrics::Registry,
    ) -> anyhow::Result<Self> {
        let profiles = ActiveProfiles::new(settings.profiles.clone());
        Self::following(settings, profiles, clock, (metrics, registry)).await
    }

    /// Loads as [`Self::load`] does, with profiles that may be reloaded.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub async fn following(
        settings: Settings,
        profiles: ActiveProfiles,
        clock: Arc<dyn Clock>,
        (metrics, registry): (&Metrics, &mut metrics::Registry),
    ) -> anyhow::Result<Self> {
        let identity = BrokerIdentity::load(&settings, Arc::clone(&clock), metrics.clone()).await?;
        identity.register(registry);
        ensure!(identity.signer().sdk.region().is_some() || !settings.needs_region, "aws.region: {NO_REGION}");
        Ok(Self {
            identity,
            endpoints: Endpoints::new(&settings),
            sessions: RoleSessions::new(
                profiles,
                StsBudget::new(settings.sts_calls_per_second, Arc::clone(&clock)),
                metrics.clone(),
            ),
            ecr_public_region: settings.ecr_public_region,
            operation_timeout: settings.operation_timeout,
            clock,
            caller_identity: CallerIdentity::default(),
        })
    }

    /// Returns the region of registries named without one.
    #[must_use]
    pub fn region(&self) -> Option<String> {
        self.identity.signer().sdk.region().map(ToString::to_string)
    }

    /// Returns the endpoints configured instead of AWS's own, for the check that none of them is the broker itself.
    #[must_use]
    pub fn endpoint_overrides(&self) -> Vec<String> {
        self.endpoints.overrides(&self.identity.signer().sdk)
    }

    /// Tells on what AWS's answers depend, to brokers that share them. `own` names the broker's own identity.
    #[must_use]
    pub fn answer_scope(&self, own: OwnIdentity) -> Arc<dyn EntryKeys> {
        Arc::new(AnswerScope {
            own,
            profiles: self.sessions.profiles(),
            endpoints: self.endpoints.clone(),
            sdk: self.identity.signer().sdk.clone(),
            ecr_public_region: self.ecr_public_region.clone(),
        })
    }

    /// Fetches a token. If AWS refuses the identity, replaces the identity and fetches once more.
    async fn fetch_token(&self, request: &FetchRequest) -> Result<Credential, UpstreamError> {
        let key = &request.key;
        if request.new_session {
            self.renew_session(key).await;
        }
        let own = self.identity.signer();
        match self.fetch_as(&own, key).await {
            Err(failure)
                if failure.class == FailureClass::NoCredentials
                    && self.invalidate_identity(key, &own, &failure).await =>
            {
                self.fetch_as(&self.identity.signer(), key).await
            }
            result => result,
        }
    }

    async fn fetch_as(&self, own: &Arc<Signer>, key: &CredentialKey) -> Result<Credential, UpstreamError> {
        let signer = self.identity_for(key, own).await?;
        let sdk = &signer.sdk;
        let credential = match (&key.registry, key.lifetime) {
            (Registry::Private(registry), Some(lifetime)) => {
                let endpoint = self.endpoints.signin(sdk, registry.region().as_str());
                signin::fetch(sdk, endpoint, (registry, lifetime.duration()), &*self.clock).await
            }
            // No configuration has such a grant.
            (Registry::Public { .. }, Some(_)) => Err(misconfigured("ECR Public takes no short-lived tokens")),
            (Registry::Private(registry), None) => {
                let endpoint = self.endpoints.ecr(sdk, registry.region().as_str());
                ecr::fetch(sdk, endpoint, registry, &*self.clock).await
            }
            (Registry::Public { dual_stack }, None) => {
                let endpoint = self.endpoints.ecr_public(sdk);
                ecr_public::fetch(sdk, endpoint, &self.ecr_public_region, *dual_stack, &*self.clock).await
            }
        }?;
        if Arc::ptr_eq(&signer, own) {
            self.name_signer(own);
        }
        Ok(credential.minted_by(signer.minter.clone()))
    }

    /// Returns the identity that calls ECR: the broker's own, or a session of the profile's last role.
    async fn identity_for(&self, key: &CredentialKey, own: &Arc<Signer>) -> Result<Arc<Signer>, UpstreamError> {
        if key.profile == ProfileName::default_profile() {
            return Ok(Arc::clone(own));
        }
        self.sessions.get(key, own, self.endpoints.sts(&own.sdk).as_deref()).await
    }

    /// Asks for the name of the broker's identity, without delaying anything.
    fn name_signer(&self, own: &Arc<Signer>) {
        self.caller_identity.ask(own, self.endpoints.sts(&own.sdk), &self.clock);
    }

    /// Drops the session whose token a registry refused: of the profile's roles, or the broker's own.
    async fn renew_session(&self, key: &CredentialKey) {
        if key.profile == ProfileName::default_profile() {
            self.identity.invalidate_identity(&self.identity.signer());
        } else {
            self.sessions.invalidate(key).await;
        }
    }

    /// Drops the identity that AWS refused. Returns whether the next call uses another one.
    async fn invalidate_identity(&self, key: &CredentialKey, own: &Arc<Signer>, failure: &UpstreamError) -> bool {
        let by_role = key.profile != ProfileName::default_profile();
        // Otherwise the identity itself could not be had.
        let refused = failure.stage == Stage::Credential;
        if by_role {
            self.sessions.invalidate(key).await;
        }
        if by_role && refused {
            return true;
        }
        (by_role || refused) && self.identity.invalidate_identity(own)
    }
}

impl CredentialSource for Aws {
    fn identity(&self) -> &dyn SourceIdentity {
        self
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        Box::pin(async {
            let result = self.fetch_token(request).await;
            self.identity.record(&result);
            Ok(result?)
        })
    }

    /// Admission control counts the calls.
    fn regions(&self) -> Vec<RegionStatus> {
        Vec::new()
    }

    /// Returns the SDK's operation timeout. [`admission::AdmissionControl`] enforces it for role sessions and retries, too.
    fn fetch_budget(&self) -> Duration {
        self.operation_timeout
    }
}

impl SourceIdentity for Aws {
    fn name(&self) -> SourceName {
        SourceName::Aws
    }

    fn status(&self) -> SourceStatus {
        self.identity.status()
    }

    fn check(&self) -> SourceFuture<'_, SourceStatus> {
        Box::pin(async {
            let status = self.identity.check().await;
            if status == SourceStatus::Ready {
                self.name_signer(&self.identity.signer());
            }
            status
        })
    }

    fn problems(&self) -> Vec<String> {
        self.identity.problems()
    }

    fn expires(&self) -> Option<SystemTime> {
        self.identity.expires()
    }
}
