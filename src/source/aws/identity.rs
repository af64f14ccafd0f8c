//! The broker's own AWS identity: found by the SDK's credential chain, and replaced after AWS refused it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use aws_config::SdkConfig;
use aws_config::identity::IdentityCache;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};

use self::expiry::Expiry;
use self::reason_log::ReasonLog;
use super::default_chain::{DefaultChain, Reason, reasons};
use super::sdk;
use super::settings::Settings;
use super::signer::Signer;
use super::web_identity::{self, WebIdentity};
use crate::clock::Clock;
use crate::credential::Minter;
use crate::error::{FailureClass, Stage, UpstreamError};
use crate::metrics::Registry;
use crate::source::{Metrics, SourceStatus};
use crate::sync::lock;

mod expiry;
mod reason_log;

/// Shortest time between two replacements of the identity. AWS refuses every identity in a disabled region, and requests for such a
/// region must not make the broker look for its identity each time. New keys must still take effect soon.
const INVALIDATION_INTERVAL: Duration = Duration::from_secs(1);

/// The broker's identity, and what is known of it.
#[derive(Debug)]
pub(super) struct BrokerIdentity {
    signer: ArcSwap<Signer>,
    chain: Chain,
    clock: Arc<dyn Clock>,
    /// The last replacement, on the monotonic clock.
    invalidated_at: Mutex<Option<Duration>>,
    is_known: AtomicBool,
    /// Why the last check found no identity; empty after one that did.
    problems: Mutex<Vec<Reason>>,
    log: ReasonLog,
    expiry: Expiry,
    metrics: Metrics,
}

/// The origin of the identity.
#[derive(Debug)]
enum Chain {
    /// Fixed keys, for the simulated AWS.
    Simulated,
    /// A web identity that is exchanged at a configured endpoint of STS.
    WebIdentity(String, WebIdentity),
    /// The SDK's default chain.
    Default,
}

impl BrokerIdentity {
    /// Reads the SDK's environment and files. Makes no network call and needs no credentials yet (P13).
    pub(super) async fn load(settings: &Settings, clock: Arc<dyn Clock>, metrics: Metrics) -> anyhow::Result<Self> {
        let (chain, expiry) = (Chain::of(settings), Expiry::default());
        let sdk = sdk::load(settings).await?;
        let provider = expiry.observe(chain.provider(&sdk, &metrics));
        let sdk = sdk.into_builder().credentials_provider(provider).build();
        Ok(Self {
            signer: ArcSwap::from_pointee(Signer { sdk, minter: Minter::default() }),
            chain,
            clock,
            invalidated_at: Mutex::default(),
            is_known: AtomicBool::new(false),
            problems: Mutex::default(),
            log: ReasonLog::default(),
            expiry,
            metrics,
        })
    }

    /// Returns the expiry of the identity.
    pub(super) fn expires(&self) -> Option<SystemTime> {
        self.expiry.get()
    }

    /// Exposes the expiry of the identity.
    pub(super) fn register(&self, registry: &mut Registry) {
        self.expiry.register(registry);
    }

    /// Returns the current identity.
    pub(super) fn signer(&self) -> Arc<Signer> {
        self.signer.load_full()
    }

    /// Replaces an identity that AWS refused, and the SDK's cache of it, because files may contain a newer one. Returns whether this
    /// call replaced it: not within [`INVALIDATION_INTERVAL`] of the last time, and not if another call has replaced it before.
    pub(super) fn invalidate_identity(&self, refused: &Arc<Signer>) -> bool {
        self.may_invalidate() && self.replace(refused)
    }

    fn may_invalidate(&self) -> bool {
        let now = self.clock.now().steady;
        let mut last = lock(&self.invalidated_at);
        let may = last.is_none_or(|last| now.saturating_sub(last) >= INVALIDATION_INTERVAL);
        if may {
            *last = Some(now);
        }
        may
    }

    fn replace(&self, refused: &Arc<Signer>) -> bool {
        let sdk = refused
            .sdk
            .to_builder()
            .credentials_provider(self.expiry.observe(self.chain.provider(&refused.sdk, &self.metrics)))
            .identity_cache(IdentityCache::lazy().build())
            .build();
        // Another identity may have another name.
        let replacement = Signer { sdk, minter: Minter::default() };
        let before = self.signer.compare_and_swap(refused, Arc::new(replacement));
        Arc::ptr_eq(&before, refused)
    }

    /// Returns the status that the last check or call found.
    pub(super) fn status(&self) -> SourceStatus {
        if self.is_known.load(Ordering::Relaxed) { SourceStatus::Ready } else { SourceStatus::NoCredentials }
    }

    /// Looks for credentials in the chain.
    pub(super) async fn check(&self) -> SourceStatus {
        if let Some(provider) = self.signer().sdk.credentials_provider() {
            let result = provider.provide_credentials().await;
            self.report(result.as_ref().err());
            self.is_known.store(result.is_ok(), Ordering::Relaxed);
        }
        self.status()
    }

    /// Updates the status after a call. A refusal with an error code proves that the broker has an identity.
    pub(super) fn record<T>(&self, result: &Result<T, UpstreamError>) {
        match result {
            Err(failure) if failure.stage == Stage::Credential && failure.code.is_some() => {
                self.is_known.store(true, Ordering::Relaxed);
            }
            Err(failure) if failure.class == FailureClass::NoCredentials => {
                self.is_known.store(false, Ordering::Relaxed);
            }
            // The failure says nothing about the identity.
            Err(_) => {}
            Ok(_) => self.is_known.store(true, Ordering::Relaxed),
        }
    }

    /// Returns why the last check found no identity, without secrets and without AWS's own words.
    pub(super) fn problems(&self) -> Vec<String> {
        lock(&self.problems).iter().map(Reason::text).collect()
    }

    fn report(&self, problem: Option<&CredentialsError>) {
        let found = problem.map(reasons).unwrap_or_default();
        self.log.write(&found, self.clock.now().steady);
        *lock(&self.problems) = found;
    }
}

impl Chain {
    fn of(settings: &Settings) -> Self {
        if settings.simulated_credentials {
            return Self::Simulated;
        }
        match (&settings.sts_endpoint, &settings.web_identity) {
            (Some(endpoint), Some(identity)) => Self::WebIdentity(endpoint.clone(), identity.clone()),
            _ => Self::Default,
        }
    }

    fn provider(&self, sdk: &SdkConfig, metrics: &Metrics) -> SharedCredentialsProvider {
        match self {
            Self::Simulated => {
                let keys = Credentials::new("AKIASIMULATED0000000", "simulated", None, None, "simulated");
                SharedCredentialsProvider::new(keys)
            }
            Self::WebIdentity(endpoint, identity) => {
                let provider = web_identity::Provider::new(sdk, endpoint, identity.clone(), metrics.clone());
                SharedCredentialsProvider::new(provider)
            }
            Self::Default => SharedCredentialsProvider::new(DefaultChain::new(sdk)),
        }
    }
}
