//! What both ECR services need of the SDK: its configuration, its endpoints, and who the broker is to AWS.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::{AppName, BehaviorVersion, Region as SdkRegion, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::service_config::ServiceConfigKey;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use tracing::{info, warn};

use self::default_chain::DefaultChain;
use self::ecr::Ecr;
use self::ecr_public::EcrPublic;
use self::error::{invalid_answer, sources};
use self::web_identity::WebIdentity;
use super::{CredentialSource, FetchError, FetchRequest, SourceFuture, SourceStatus};
use crate::caller::Principal;
use crate::clock::Clock;
use crate::credential::{Credential, CredentialKey, ProfileName};
use crate::error::{FailureClass, SourceName, UpstreamError};
use crate::profile::Profile;
use crate::registry::{AccountId, Partition, Region, Registry};
use crate::sync::lock;

pub mod admission;
pub mod ca_bundle;
mod default_chain;
mod ecr;
mod ecr_public;
mod error;
mod http;
mod role;
mod sts;
pub mod web_identity;

/// How many role sessions are held; one is of a profile and an account, and takes 20 KB and more.
const SESSIONS: u64 = 2_000;
/// A role's session lasts an hour; one that nobody needs is not kept.
const SESSION_IDLE: Duration = Duration::from_hours(1);
/// AWS refuses identities also where a region is switched off. A caller who asks for many such must not have the broker look for its
/// identity each time; but keys that were just replaced are wanted soon.
const LET_GO_INTERVAL: Duration = Duration::from_secs(1);

/// Where, as whom and for how long AWS is called. What is `None` is left to the SDK's own environment and files.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The region of requests that name none, and of STS.
    pub region: Option<String>,
    /// PEM certificates to trust instead of the system's.
    pub ca_bundle: Option<PathBuf>,
    /// Where ECR is; `{region}` stands for the registry's region.
    pub ecr_endpoint: Option<String>,
    /// Where ECR is in some regions; wins over `ecr_endpoint`.
    pub ecr_endpoints: BTreeMap<String, String>,
    /// Where ECR Public is.
    pub ecr_public_endpoint: Option<String>,
    /// The region that ECR Public is called in.
    pub ecr_public_region: String,
    /// Where STS trades `web_identity` for a role's credentials.
    pub sts_endpoint: Option<String>,
    /// The web identity to trade there; without an `sts_endpoint` the SDK does it by itself.
    pub web_identity: Option<WebIdentity>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long one try may take.
    pub attempt_timeout: Duration,
    /// How long a call may take with all its tries.
    pub operation_timeout: Duration,
    /// By which roles the credentials of other profiles than `default` are minted.
    pub profiles: Vec<Profile>,
    /// Credentials to use instead of the SDK's chain; for the simulated AWS, which takes any.
    pub simulated_credentials: bool,
}

/// AWS: both services behind one configuration.
#[derive(Debug)]
pub struct Aws {
    shared: Arc<Shared>,
    ecr: Ecr,
    ecr_public: EcrPublic,
    has_identity: AtomicBool,
    reported_missing: AtomicBool,
    sessions: Cache<Session, Begun>,
    /// Those that are for one caller each, of whom there may be many.
    sessions_of_callers: Cache<Session, Begun>,
    /// When, by the steady clock, the broker's own identity was last let go of.
    let_go: Mutex<Option<Duration>>,
}

/// Whose role session: which profile's, of which registry's account, and where the profile says so, for whom.
type Session = (ProfileName, Partition, Option<AccountId>, Option<Principal>);

/// A session, and by which identity of the broker's it was begun.
#[derive(Debug, Clone)]
struct Begun {
    by: Arc<SdkConfig>,
    session: Arc<SdkConfig>,
}

/// What the calls of both services share.
#[derive(Debug)]
pub(super) struct Shared {
    sdk: ArcSwap<SdkConfig>,
    pub(super) settings: Settings,
    pub(super) clock: Arc<dyn Clock>,
}

impl Aws {
    /// Reads the SDK's environment and files. It makes no call to AWS, and needs no credentials to be there yet.
    ///
    /// # Errors
    /// Where the CA bundle cannot be used.
    pub async fn load(settings: Settings, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let sdk = sdk_config(&settings).await?;
        let shared = Arc::new(Shared { sdk: ArcSwap::from_pointee(sdk), settings, clock });
        Ok(Self {
            ecr: Ecr::new(Arc::clone(&shared)),
            ecr_public: EcrPublic::new(Arc::clone(&shared)),
            has_identity: AtomicBool::new(false),
            reported_missing: AtomicBool::new(false),
            sessions: sessions(),
            sessions_of_callers: sessions(),
            let_go: Mutex::default(),
            shared,
        })
    }

    /// The region of requests that name none.
    #[must_use]
    pub fn region(&self) -> Option<String> {
        self.shared.sdk().region().map(ToString::to_string)
    }

    /// The endpoints that are configured instead of AWS's own, for the check that none of them is the broker itself.
    #[must_use]
    pub fn endpoint_overrides(&self) -> Vec<String> {
        let settings = &self.shared.settings;
        let region = self.region().unwrap_or_else(|| "us-east-1".to_owned());
        let of_all = [
            self.shared.ecr_endpoint_of_most_regions(&region),
            self.shared.ecr_public_endpoint(),
            self.shared.endpoint("STS", settings.sts_endpoint.clone()),
        ];
        of_all.into_iter().flatten().chain(settings.ecr_endpoints.values().cloned()).collect()
    }
}

impl Aws {
    async fn fetch_as(&self, sdk: &SdkConfig, key: &CredentialKey) -> Result<Credential, UpstreamError> {
        match &key.registry {
            Registry::Private(registry) => self.ecr.fetch(sdk, registry).await,
            Registry::Public { dual_stack } => self.ecr_public.fetch(sdk, *dual_stack).await,
        }
    }

    async fn fetch_once_or_twice(&self, key: &CredentialKey) -> Result<Credential, UpstreamError> {
        let own = self.shared.sdk();
        let result = self.fetch_as(&*self.identity_for(key, &own).await?, key).await;
        match &result {
            Err(failure) if failure.class == FailureClass::NoCredentials && self.let_go(key, &own, failure).await => {}
            _ => return result,
        }
        self.fetch_as(&*self.identity_for(key, &self.shared.sdk()).await?, key).await
    }

    /// An identity that AWS refuses by code is there, and a failure that says nothing of it changes nothing.
    fn note_identity(&self, result: &Result<Credential, UpstreamError>) {
        match result {
            Err(failure) if failure.code.is_none() && failure.class != FailureClass::NoCredentials => {}
            Err(failure) if failure.code.is_none() => self.has_identity.store(false, Ordering::Relaxed),
            _ => self.has_identity.store(true, Ordering::Relaxed),
        }
    }

    /// As whom AWS is asked: the broker's own identity, or a session of the profile's last role.
    async fn identity_for(&self, key: &CredentialKey, own: &Arc<SdkConfig>) -> Result<Arc<SdkConfig>, UpstreamError> {
        if key.profile == ProfileName::default_profile() {
            return Ok(Arc::clone(own));
        }
        let profiles = &self.shared.settings.profiles;
        let profile = profiles.iter().find(|profile| profile.name == key.profile);
        // Never by the broker's own identity instead, which may do more.
        let profile = profile.ok_or_else(|| invalid_answer("there is no such profile"))?;
        let session = session(key);
        let (_, partition, account, ref caller) = session;
        let sts = self.shared.endpoint("STS", self.shared.settings.sts_endpoint.clone());
        let assumed = || async {
            let session = role::assume(own, sts.as_deref(), profile, caller.as_ref(), partition, account)?;
            Some(Begun { by: Arc::clone(own), session })
        };
        let sessions = self.sessions_for(key);
        let mut begun = sessions.optionally_get_with(session.clone(), assumed()).await;
        if begun.as_ref().is_some_and(|begun| !Arc::ptr_eq(&begun.by, own)) {
            sessions.invalidate(&session).await;
            begun = sessions.optionally_get_with(session.clone(), assumed()).await;
        }
        let needs_account = || invalid_answer("a role of the profile needs an account, and the registry has none");
        begun.map(|begun| begun.session).ok_or_else(needs_account)
    }

    fn sessions_for(&self, key: &CredentialKey) -> &Cache<Session, Begun> {
        if key.caller.is_none() { &self.sessions } else { &self.sessions_of_callers }
    }

    /// Makes way for a better identity after a failure that is about the one that was used. True: there may be one now.
    async fn let_go(&self, key: &CredentialKey, own: &Arc<SdkConfig>, failure: &UpstreamError) -> bool {
        let of_role = key.profile != ProfileName::default_profile();
        // By code, ECR refuses the session or the identity that it was asked with; without one, that could not be had.
        let refused = failure.code.is_some();
        if of_role {
            self.sessions_for(key).invalidate(&session(key)).await;
        }
        if of_role && refused {
            return true;
        }
        (of_role || refused) && self.may_let_go() && self.shared.forget_identity(own)
    }

    /// Once in a while.
    fn may_let_go(&self) -> bool {
        let now = self.shared.clock.now().steady;
        let mut last = lock(&self.let_go);
        let may = last.is_none_or(|last| now.saturating_sub(last) >= LET_GO_INTERVAL);
        if may {
            *last = Some(now);
        }
        may
    }

    /// One line when the identity is found missing and one when it is there again, not one at every look.
    fn report_identity(&self, problem: Option<&CredentialsError>) {
        let was_missing = self.reported_missing.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            Some(error) if !was_missing => warn!(error = %sources(error), "AWS credentials missing"),
            None if was_missing => info!("AWS credentials found"),
            _ => {}
        }
    }
}

impl CredentialSource for Aws {
    fn name(&self) -> SourceName {
        SourceName::Aws
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        Box::pin(async {
            let result = self.fetch_once_or_twice(&request.key).await;
            self.note_identity(&result);
            Ok(result?)
        })
    }

    fn status(&self) -> SourceStatus {
        if self.has_identity.load(Ordering::Relaxed) { SourceStatus::Ready } else { SourceStatus::NoCredentials }
    }

    fn check(&self) -> SourceFuture<'_, SourceStatus> {
        Box::pin(async {
            if let Some(provider) = self.shared.sdk().credentials_provider() {
                let result = provider.provide_credentials().await;
                self.report_identity(result.as_ref().err());
                self.has_identity.store(result.is_ok(), Ordering::Relaxed);
            }
            self.status()
        })
    }

    fn fetch_budget(&self) -> Duration {
        self.shared.settings.operation_timeout
    }
}

fn sessions() -> Cache<Session, Begun> {
    Cache::builder().max_capacity(SESSIONS).time_to_idle(SESSION_IDLE).eviction_policy(EvictionPolicy::lru()).build()
}

/// The registry's own; ECR Public is of the commercial partition.
fn session(key: &CredentialKey) -> Session {
    let partition = key.registry.region().map_or(Partition::Aws, Region::partition);
    (key.profile.clone(), partition, key.registry.account(), key.caller.clone())
}

impl Shared {
    fn sdk(&self) -> Arc<SdkConfig> {
        self.sdk.load_full()
    }

    /// Lets go of an identity that AWS refuses, with all that remembers it: files may hold a newer one by now. Whoever comes
    /// second with the same old one changes nothing.
    fn forget_identity(&self, refused: &Arc<SdkConfig>) -> bool {
        let anew = refused
            .to_builder()
            .credentials_provider(identity(refused, &self.settings))
            .identity_cache(IdentityCache::lazy().build())
            .build();
        let before = self.sdk.compare_and_swap(refused, Arc::new(anew));
        Arc::ptr_eq(&before, refused)
    }

    /// Where ECR is called for `region`; `None`: at AWS's own endpoint.
    pub(super) fn ecr_endpoint(&self, region: &str) -> Option<String> {
        let own = self.settings.ecr_endpoints.get(region);
        own.cloned().or_else(|| self.ecr_endpoint_of_most_regions(region))
    }

    fn ecr_endpoint_of_most_regions(&self, region: &str) -> Option<String> {
        self.endpoint("ECR", self.settings.ecr_endpoint.as_ref().map(|endpoint| endpoint.replace("{region}", region)))
    }

    /// Where ECR Public is called; `None`: at AWS's own endpoint.
    pub(super) fn ecr_public_endpoint(&self) -> Option<String> {
        self.endpoint("ECR PUBLIC", self.settings.ecr_public_endpoint.clone())
    }

    /// Ours, else `AWS_ENDPOINT_URL_<service>` or the files' `services` section, else `AWS_ENDPOINT_URL`.
    fn endpoint(&self, service: &str, configured: Option<String>) -> Option<String> {
        let sdk = self.sdk();
        let from_environment = || {
            let key = ServiceConfigKey::builder()
                .service_id(service)
                .env("AWS_ENDPOINT_URL")
                .profile("endpoint_url")
                .build()
                .ok()?;
            sdk.service_config()?.load_config(key)
        };
        configured.or_else(from_environment).or_else(|| sdk.endpoint_url().map(str::to_owned))
    }

    /// Opens an authorization token of AWS's answer. What is missing or broken in it is a failure, never a panic.
    pub(super) fn open(
        &self,
        token: Option<&str>,
        expires: Option<&aws_smithy_types::DateTime>,
    ) -> Result<Credential, UpstreamError> {
        let token = token.ok_or_else(|| invalid_answer("the answer holds no authorization token"))?;
        let expires = expires.ok_or_else(|| invalid_answer("the answer holds no expiry time"))?;
        let expires = to_the_millisecond(expires).ok_or_else(|| invalid_answer("the expiry time is out of range"))?;
        Credential::open(token, expires, self.clock.now()).map_err(|error| invalid_answer(&error.to_string()))
    }
}

/// AWS writes the time as a number of seconds with three decimals, which a floating-point number holds only nearly.
fn to_the_millisecond(time: &aws_smithy_types::DateTime) -> Option<SystemTime> {
    let millis = (u64::from(time.subsec_nanos()) + 500_000) / 1_000_000;
    let seconds = u64::try_from(time.secs()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds) + Duration::from_millis(millis))
}

async fn sdk_config(settings: &Settings) -> anyhow::Result<SdkConfig> {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(settings.connect_timeout)
        .operation_attempt_timeout(settings.attempt_timeout)
        .operation_timeout(settings.operation_timeout)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .app_name(AppName::new("ecr-broker")?)
        // Calls are tried again in one place: `guard`.
        .retry_config(RetryConfig::disabled())
        .http_client(http::client(settings.ca_bundle.as_deref())?)
        .timeout_config(timeouts);
    if let Some(region) = &settings.region {
        loader = loader.region(SdkRegion::new(region.clone()));
    }
    let sdk = loader.no_credentials().load().await;
    let identity = identity(&sdk, settings);
    Ok(sdk.into_builder().credentials_provider(identity).build())
}

/// Who the broker is to AWS.
fn identity(sdk: &SdkConfig, settings: &Settings) -> SharedCredentialsProvider {
    if settings.simulated_credentials {
        let any = aws_credential_types::Credentials::new("AKIASIMULATED0000000", "simulated", None, None, "simulated");
        return SharedCredentialsProvider::new(any);
    }
    match (&settings.sts_endpoint, &settings.web_identity) {
        (Some(endpoint), Some(identity)) => {
            SharedCredentialsProvider::new(web_identity::Provider::new(sdk, endpoint, identity.clone()))
        }
        _ => SharedCredentialsProvider::new(DefaultChain::new(sdk)),
    }
}

#[cfg(test)]
mod tests;
