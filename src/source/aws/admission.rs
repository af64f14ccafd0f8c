//! Admission control of the calls to AWS: a bulkhead for each region, a fair queue, pacing, and a retry budget.
//!
//! ECR, with AWS Sign-In, and ECR Public have separate limits of calls in flight in each region. A slow or dead region thus does not delay the others (P7). The
//! limit adapts: it grows while AWS admits the calls, so that a burst of cold keys is served in seconds, and AWS's throttling halves
//! it. While AWS throttles a region, the broker also paces its calls so that AWS admits most of them. AWS limits rates, and with
//! short calls even one call in flight can exceed a rate. A call that cannot start soon fails at once, with a retry delay.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use self::bulkhead::{Bulkhead, MAX_QUEUE_TIME};
use self::outcome::Outcome;
use self::total_limit::TotalLimit;
use crate::credential::Credential;
use crate::error::{FailureClass, UpstreamError};
use crate::jitter;
use crate::registry::Region;
use crate::source::span::record_failure;
use crate::source::{CredentialSource, FetchError, FetchRequest, RegionStatus, SourceFuture, SourceIdentity};
use crate::sync::lock;

mod bulkhead;
mod concurrency_limit;
mod fair_queue;
mod first_share;
mod latency;
mod outcome;
mod pacer;
mod region_slots;
mod retry_budget;
mod settings;
mod slots;
mod total_limit;

pub use self::settings::Settings;

/// Number of bulkheads above which idle ones are evicted. AWS has fewer than 50 regions, but the configuration may name others.
const MAX_IDLE_BULKHEADS: usize = 500;
/// Maximum number of attempts of one call.
const MAX_ATTEMPTS: u32 = 3;
/// Longest backoff before the second attempt. Before the third it is twice as long.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);

/// A layer that limits, queues, paces and retries the calls to a source.
#[derive(Debug)]
pub struct AdmissionControl<S> {
    source: S,
    max_in_flight_per_region: usize,
    total: Arc<TotalLimit>,
    /// Bulkheads by region; ECR Public has none.
    bulkheads: Mutex<HashMap<Option<Region>, Arc<Bulkhead>>>,
}

impl<S: CredentialSource> AdmissionControl<S> {
    /// Wraps `source`.
    #[must_use]
    pub fn new(source: S, settings: &Settings) -> Self {
        Self {
            source,
            max_in_flight_per_region: settings.max_in_flight_per_region.max(1),
            total: Arc::new(TotalLimit::new(settings)),
            bulkheads: Mutex::default(),
        }
    }

    async fn fetch_admitted(&self, request: &FetchRequest) -> Result<Credential, FetchError> {
        let bulkhead = self.bulkhead(request.key.registry.region());
        let permit = bulkhead.acquire(request).await?;
        let result = timeout(self.source.fetch_budget(), self.fetch_with_retries(request, &bulkhead)).await;
        let result = result.unwrap_or_else(|_| Err(self.timed_out().into()));
        permit.record(Outcome::of(&result));
        result
    }

    /// Retries transient failures, as long as the retry budget lasts.
    async fn fetch_with_retries(&self, request: &FetchRequest, bulkhead: &Bulkhead) -> Result<Credential, FetchError> {
        bulkhead.retry_budget.deposit();
        for attempt in 1..MAX_ATTEMPTS {
            match self.source.fetch(request).await {
                Err(FetchError::Upstream(failure)) if is_transient(&failure) && bulkhead.retry_budget.withdraw() => {
                    debug!(attempt, "upstream call failed, retrying");
                    request.progress.retry(failure);
                    // Full jitter: calls that failed together must not retry together.
                    sleep(jitter::up_to(FIRST_BACKOFF * 2_u32.pow(attempt - 1))).await;
                }
                result => return result,
            }
        }
        self.source.fetch(request).await
    }

    fn timed_out(&self) -> UpstreamError {
        let (source, limit) = (self.source.identity().name(), self.source.fetch_budget());
        warn!(source = source.id(), limit = %humantime::format_duration(limit), "upstream call timed out");
        let failure = UpstreamError::unanswered(source);
        record_failure(failure.class);
        failure
    }

    /// Returns the region's bulkhead. A bulkhead with calls in flight, or with paced calls, is never evicted.
    fn bulkhead(&self, region: Option<&Region>) -> Arc<Bulkhead> {
        let region = region.cloned();
        let mut bulkheads = lock(&self.bulkheads);
        if bulkheads.len() >= MAX_IDLE_BULKHEADS && !bulkheads.contains_key(&region) {
            bulkheads.retain(|_, bulkhead| Arc::strong_count(bulkhead) > 1 || bulkhead.is_paced());
        }
        let new = || Arc::new(Bulkhead::new(self.max_in_flight_per_region, Arc::clone(&self.total)));
        Arc::clone(bulkheads.entry(region).or_insert_with(new))
    }
}

impl<S: CredentialSource> CredentialSource for AdmissionControl<S> {
    fn identity(&self) -> &dyn SourceIdentity {
        self.source.identity()
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        Box::pin(self.fetch_admitted(request))
    }

    fn regions(&self) -> Vec<RegionStatus> {
        let bulkheads: Vec<_> =
            lock(&self.bulkheads).iter().map(|(region, one)| (region.clone(), Arc::clone(one))).collect();
        let name = self.source.identity().name();
        let mut regions: Vec<_> =
            bulkheads.into_iter().map(|(region, bulkhead)| bulkhead.status(name.clone(), region)).collect();
        regions.sort_unstable_by(|one, other| one.region.cmp(&other.region));
        regions
    }

    fn fetch_budget(&self) -> Duration {
        MAX_QUEUE_TIME + self.source.fetch_budget()
    }
}

/// Returns whether a retry may help at once. The cache backs off after a throttled call, and after a failure with a delay of AWS.
fn is_transient(failure: &UpstreamError) -> bool {
    failure.class == FailureClass::Unavailable && failure.retry_after.is_none()
}
