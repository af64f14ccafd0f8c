//! Layer that tries each new credential at its registry before it replaces a good one: `verify`.
//!
//! AWS may issue tokens that no registry accepts, such as for a session of a role that was deleted and created again under its name
//! (aws/amazon-ecs-agent#2137). Without this layer the cache would replace a good credential by such a token, and every pull would fail
//! until an operator found out. Only the registry's refusal counts: a network may reach AWS's API and not the registries.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use self::keys::host_to_ask;
use self::metrics::Outcome;
use super::span::record_failure;
use super::{CredentialSource, FetchError, FetchRequest, RegionStatus, SourceFuture, SourceIdentity};
use crate::clock::Clock;
use crate::credential::Credential;
use crate::error::{FailureClass, UpstreamError};
use crate::log_throttle::LogThrottle;

mod keys;
mod metrics;
mod probe;
mod registry_client;

pub use self::keys::VerifiedKeys;
pub use self::metrics::Metrics;
pub use self::probe::{NoAnswer, RegistryProbe};
pub use self::registry_client::RegistryClient;

/// Longest time for the answer of a registry, connecting included.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// Longest wait for the turn to ask one.
const QUEUE_TIME: Duration = Duration::from_secs(2);
/// Maximum number of registries that are asked at the same time. A cold start may have thousands of new credentials.
const MAX_ASKED: usize = 64;
/// Delay before another credential is requested after two were refused: each costs calls to STS, ECR and the registry.
const REFUSED_DELAY: Duration = Duration::from_secs(30);

/// A layer that tries new credentials at their registries.
#[derive(Debug)]
pub struct Verified {
    source: Arc<dyn CredentialSource>,
    keys: VerifiedKeys,
    registries: Arc<dyn RegistryProbe>,
    permits: Semaphore,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    inconclusive: LogThrottle,
}

impl Verified {
    /// Wraps `source`, and tries the credentials of `keys`.
    #[must_use]
    pub fn new(
        source: Arc<dyn CredentialSource>,
        keys: VerifiedKeys,
        registries: Arc<dyn RegistryProbe>,
        metrics: Metrics,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (permits, inconclusive) = (Semaphore::new(MAX_ASKED), LogThrottle::default());
        Self { source, keys, registries, permits, metrics, clock, inconclusive }
    }

    /// Fetches a credential, and once more by a new role session if the registry refuses the first.
    async fn fetch_verified(&self, request: &FetchRequest) -> Result<Credential, FetchError> {
        let first = self.source.fetch(request).await?;
        if !self.is_refused(request, &first).await {
            return Ok(first);
        }
        let again = FetchRequest { rejected: Some(first.id()), new_session: true, ..request.clone() };
        let second = self.source.fetch(&again).await?;
        if second.id() != first.id() && !self.is_refused(request, &second).await {
            return Ok(second);
        }
        Err(self.refused(request))
    }

    /// Returns whether the registry refuses the credential.
    async fn is_refused(&self, request: &FetchRequest, credential: &Credential) -> bool {
        let Some(host) = host_to_ask(&request.key, credential) else { return false };
        let outcome = match self.ask(request, &host, credential).await {
            Ok(status) => Outcome::of(status),
            Err(NoAnswer(_)) => Outcome::Unreachable,
        };
        self.metrics.count(outcome);
        outcome == Outcome::Refused
    }

    /// Asks the registry, and logs the answer unless it accepts the credential.
    async fn ask(&self, request: &FetchRequest, host: &str, credential: &Credential) -> Result<u16, NoAnswer> {
        let until = |time| (Instant::now() + time).min(request.deadline);
        let late = |_| NoAnswer("no answer in time".to_owned());
        let answer = async {
            // The semaphore is never closed.
            let _permit = timeout_at(until(QUEUE_TIME), self.permits.acquire()).await.map_err(late)?;
            timeout_at(until(ANSWER_TIME), self.registries.ask(host, credential)).await.map_err(late)?
        };
        let answer = answer.await;
        request.span.in_scope(|| self.log(request, host, credential, &answer));
        answer
    }

    fn log(&self, request: &FetchRequest, host: &str, credential: &Credential, answer: &Result<u16, NoAnswer>) {
        let (profile, credential_id) = (&request.key.profile, credential.id());
        match answer {
            Ok(status) if Outcome::of(*status) == Outcome::Refused => {
                warn!(registry = host, %profile, %credential_id, status, "new credential refused by its registry");
            }
            Ok(status) if Outcome::of(*status) == Outcome::Accepted => {}
            answer if self.inconclusive.is_due(self.clock.now().steady) => {
                let status = answer.as_ref().ok();
                let problem = answer.as_ref().err().map(tracing::field::display);
                warn!(registry = host, %profile, %credential_id, status, problem, "new credential used unverified");
            }
            _ => {}
        }
    }

    fn refused(&self, request: &FetchRequest) -> FetchError {
        request.span.in_scope(|| record_failure(FailureClass::InvalidResponse));
        let failure = UpstreamError::new(self.source.identity().name(), FailureClass::InvalidResponse);
        UpstreamError { retry_after: Some(REFUSED_DELAY), ..failure }.into()
    }
}

impl CredentialSource for Verified {
    fn identity(&self) -> &dyn SourceIdentity {
        self.source.identity()
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        if self.keys.has(&request.key) { Box::pin(self.fetch_verified(request)) } else { self.source.fetch(request) }
    }

    fn regions(&self) -> Vec<RegionStatus> {
        self.source.regions()
    }

    /// Returns the time of two fetches and two questions.
    fn fetch_budget(&self) -> Duration {
        2 * (self.source.fetch_budget() + QUEUE_TIME + ANSWER_TIME)
    }
}
