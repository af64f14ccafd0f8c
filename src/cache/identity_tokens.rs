//! One token for all accounts of an identity: `cache.token_scope = "identity"`.
//!
//! An ECR token opens every registry of its region that its principal may use, whichever account it was requested for. This layer
//! between the cache and the source therefore fetches one token for all accounts. The cache keeps a credential for each account as
//! always, so hits, lists, watches, rejections and the audit log do not know the layer. It coalesces the fetches of all accounts (P1),
//! and a failure is one for all of them (P6).

use std::sync::{Arc, Weak};
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use tokio::time::sleep;

use self::token::{Token, UntilExpiry, Wanted};
use self::turn::Turn;
use super::backoff::FetchBackoff;
use super::by_key::ByKey;
use super::settings::Settings;
use super::token_scope::SharedKeys;
use crate::clock::Clock;
use crate::credential::{Credential, CredentialKey};
use crate::error::{BrokerError, FailureClass, UpstreamError};
use crate::source::{CredentialSource, FetchError, FetchRequest, RegionStatus, SourceFuture, SourceIdentity};

mod token;
mod turn;

/// Time between two sweeps of expired tokens out of memory.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// A layer that fetches one token for all accounts of an identity.
#[derive(Debug)]
pub struct IdentityTokens {
    source: Arc<dyn CredentialSource>,
    shared_keys: SharedKeys,
    tokens: Cache<CredentialKey, Arc<Token>>,
    turns: ByKey<Turn>,
    backoff: FetchBackoff,
    safety_margin: Duration,
    clock: Arc<dyn Clock>,
}

impl IdentityTokens {
    /// Wraps `source`. Expired tokens are swept in a background task for as long as the layer lives.
    #[must_use]
    pub fn start(
        source: Arc<dyn CredentialSource>,
        shared_keys: SharedKeys,
        settings: &Settings,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let tokens = Cache::builder()
            .max_capacity(settings.capacity)
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(UntilExpiry(Arc::clone(&clock)))
            .build();
        let layer = Arc::new(Self {
            source,
            shared_keys,
            tokens,
            turns: ByKey::default(),
            backoff: FetchBackoff::new(settings.capacity),
            safety_margin: settings.safety_margin,
            clock,
        });
        tokio::spawn(sweep(Arc::downgrade(&layer)));
        layer
    }

    /// Returns the identity's token, which the fetches of all accounts wait for together.
    async fn fetch_shared(&self, key: CredentialKey, request: &FetchRequest) -> Result<Credential, FetchError> {
        let wanted = Wanted { request, account: request.key.registry.account() };
        let copy = |token: &Token| token.credential.copied_for(wanted.account);
        if let Some(token) = self.usable(&key, &wanted).await {
            return Ok(copy(&token));
        }
        let turn = self.turns.join(&key);
        let shared = FetchRequest { key, progress: turn.progress.clone(), ..request.clone() };
        let fetched = async {
            let _turn = turn.lock.lock().await;
            match self.usable(&shared.key, &wanted).await {
                Some(token) => Ok(token),
                None => self.fetch_in_turn(&shared, &wanted).await,
            }
        };
        let token = tokio::select! {
            // First: a fetch in the queue must know all its requesters.
            biased;
            never = request.progress.follow(&turn.progress) => match never {},
            token = fetched => token?,
        };
        Ok(copy(&token))
    }

    async fn usable(&self, key: &CredentialKey, wanted: &Wanted<'_>) -> Option<Arc<Token>> {
        let token = self.tokens.get(key).await?;
        token.serves(wanted, self.clock.now()).then_some(token)
    }

    /// Fetches a new token, unless a backoff forbids the call.
    async fn fetch_in_turn(&self, request: &FetchRequest, wanted: &Wanted<'_>) -> Result<Arc<Token>, FetchError> {
        self.check_may_fetch(&request.key, wanted).await.map_err(|error| self.fetch_error(error))?;
        request.progress.begin(self.backoff.last_failure(&request.key, self.clock.now()).await);
        let result = self.source.fetch(request).await;
        request.progress.begin(None);
        match result.and_then(|credential| self.check_fetched(credential)) {
            Ok(credential) => Ok(self.keep(&request.key, credential).await),
            Err(FetchError::Upstream(failure)) => Err(self.keep_failure(&request.key, failure).await),
            // Only the requester's own queue is full.
            Err(error @ (FetchError::QueueFull { .. } | FetchError::OfRequest(_))) => Err(error),
        }
    }

    /// Checks that no backoff forbids the call, and that the identity's rejected token was not replaced in the last minute.
    async fn check_may_fetch(&self, key: &CredentialKey, wanted: &Wanted<'_>) -> Result<(), BrokerError> {
        let now = self.clock.now();
        self.backoff.check(key, now).await?;
        let current = self.tokens.get(key).await;
        if current.is_some_and(|token| token.is_rejected_by(wanted)) {
            let rejected_again = self.failure(FailureClass::InvalidResponse).into();
            self.backoff.check_replacement(key, now, rejected_again).await?;
            self.backoff.record_replacement(key, now).await;
        }
        Ok(())
    }

    fn check_fetched(&self, credential: Credential) -> Result<Credential, FetchError> {
        if credential.remaining(self.clock.now()) < self.safety_margin {
            return Err(self.failure(FailureClass::InvalidResponse).into());
        }
        Ok(credential)
    }

    async fn keep(&self, key: &CredentialKey, credential: Credential) -> Arc<Token> {
        let token = Arc::new(Token::new(credential));
        self.tokens.insert(key.clone(), Arc::clone(&token)).await;
        self.backoff.record_success(key).await;
        token
    }

    /// Drops the token after a denial (P5). Each account's fetch gets the failure until its backoff ends.
    async fn keep_failure(&self, key: &CredentialKey, failure: UpstreamError) -> FetchError {
        if failure.class.revokes_credentials() {
            self.tokens.invalidate(key).await;
        }
        let error = self.backoff.record_failure(key, failure.into(), self.clock.now()).await;
        self.fetch_error(error)
    }

    /// Drops the tokens of profiles that a reload has replaced. Keys in flight no longer name them.
    async fn drop_retired(&self) {
        let retired: Vec<_> = self.tokens.iter().filter(|(key, _)| self.shared_keys.is_retired(key)).collect();
        for (key, _) in retired {
            self.tokens.invalidate(&*key).await;
        }
    }

    fn fetch_error(&self, error: BrokerError) -> FetchError {
        match error {
            BrokerError::Upstream(failure) => failure.into(),
            // The backoff records only failures of the source.
            _ => self.failure(FailureClass::Unavailable).into(),
        }
    }

    fn failure(&self, class: FailureClass) -> UpstreamError {
        UpstreamError::new(self.source.identity().name(), class)
    }
}

impl CredentialSource for IdentityTokens {
    fn identity(&self) -> &dyn SourceIdentity {
        self.source.identity()
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        match self.shared_keys.of(&request.key) {
            Some(key) => Box::pin(self.fetch_shared(key, request)),
            None => self.source.fetch(request),
        }
    }

    fn regions(&self) -> Vec<RegionStatus> {
        self.source.regions()
    }

    /// A fetch that waits for another account's has been in flight for less time, and ends with it.
    fn fetch_budget(&self) -> Duration {
        self.source.fetch_budget()
    }
}

/// Evicts expired tokens. moka evicts only when it is used, and an idle broker must not keep expired secrets in memory.
async fn sweep(layer: Weak<IdentityTokens>) {
    loop {
        sleep(SWEEP_INTERVAL).await;
        let Some(layer) = layer.upgrade() else { return };
        layer.drop_retired().await;
        layer.tokens.run_pending_tasks().await;
        layer.backoff.sweep().await;
    }
}
