//! Bulkhead: limits the calls to one service in one region, so that a slow region does not delay the others.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::fair_queue::{FairQueue, LanePlace};
use super::latency::LatencyEwma;
use super::outcome::Outcome;
use super::pacer::Pacer;
use super::retry_budget::RetryBudget;
use crate::caller::Principal;
use crate::jitter;
use crate::log_throttle::{self, LogThrottle};
use crate::source::FetchError;
use crate::source::span::record_queue_full;

/// Maximum number of calls in flight to one service in one region.
const MAX_IN_FLIGHT: usize = 8;
/// Maximum number among them that use an assumed role. When STS hangs, the rest stays free for the broker's own identity.
const MAX_IN_FLIGHT_AS_ROLE: usize = 6;
/// Longest time that a call may queue.
pub(super) const MAX_QUEUE_TIME: Duration = Duration::from_secs(5);
/// Retry delay of a call that found the queue full: 0.5 s to 1.5 s.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(500);
const RETRY_SPREAD: f64 = 2.0;

/// Limits, queues and paces the calls of one service in one region.
#[derive(Debug)]
pub(super) struct Bulkhead {
    pub(super) retry_budget: RetryBudget,
    in_flight: Arc<Semaphore>,
    in_flight_as_role: Arc<Semaphore>,
    queue: FairQueue,
    pacer: Pacer,
    latency: LatencyEwma,
    latency_as_role: LatencyEwma,
    created: Instant,
    queue_full_log: LogThrottle,
}

/// The right to make one call.
#[derive(Debug)]
pub(super) struct CallPermit {
    bulkhead: Arc<Bulkhead>,
    started: Instant,
    as_role: bool,
    _in_flight: OwnedSemaphorePermit,
    _in_flight_as_role: Option<OwnedSemaphorePermit>,
}

impl Bulkhead {
    pub(super) fn new() -> Self {
        Self {
            retry_budget: RetryBudget::new(),
            in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            in_flight_as_role: Arc::new(Semaphore::new(MAX_IN_FLIGHT_AS_ROLE)),
            queue: FairQueue::default(),
            pacer: Pacer::new(),
            latency: LatencyEwma::new(),
            latency_as_role: LatencyEwma::new(),
            created: Instant::now(),
            queue_full_log: LogThrottle::default(),
        }
    }

    /// Returns whether calls are paced because AWS throttled some.
    pub(super) fn is_paced(&self) -> bool {
        !self.pacer.interval().is_zero()
    }

    /// Queues for a call. Fails at once if the wait would be too long.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        requester: Option<&Principal>,
        as_role: bool,
    ) -> Result<CallPermit, FetchError> {
        let place = self.queue.enter((requester.cloned(), as_role));
        if self.expected_wait(place.calls_ahead(), as_role) > MAX_QUEUE_TIME {
            return Err(self.queue_full());
        }
        match timeout(MAX_QUEUE_TIME, self.wait_in(&place, as_role)).await {
            Ok(Some(permit)) => Ok(permit),
            _ => Err(self.queue_full()),
        }
    }

    /// Waits until the call heads its lane, then for its semaphores, then for the pacer. `None` never happens: no semaphore is closed.
    async fn wait_in(self: &Arc<Self>, place: &LanePlace, as_role: bool) -> Option<CallPermit> {
        let _head = place.head().await;
        let in_flight_as_role = if as_role { Some(acquire(&self.in_flight_as_role).await?) } else { None };
        let in_flight = acquire(&self.in_flight).await?;
        self.pacer.wait().await;
        Some(CallPermit {
            bulkhead: Arc::clone(self),
            started: Instant::now(),
            as_role,
            _in_flight: in_flight,
            _in_flight_as_role: in_flight_as_role,
        })
    }

    /// Estimates the wait behind `calls_ahead` calls of the same lane.
    fn expected_wait(&self, calls_ahead: usize, as_role: bool) -> Duration {
        let parallel = if as_role { MAX_IN_FLIGHT_AS_ROLE } else { MAX_IN_FLIGHT };
        let per_call = self.latency(as_role).get() / to_u32(parallel);
        self.pacer.interval().max(per_call).saturating_mul(to_u32(calls_ahead))
    }

    fn latency(&self, as_role: bool) -> &LatencyEwma {
        if as_role { &self.latency_as_role } else { &self.latency }
    }

    /// Returns the error of a call that was not made. Logs at most one line a minute, in the span of the current call.
    fn queue_full(&self) -> FetchError {
        record_queue_full();
        if self.queue_full_log.is_due(self.created.elapsed()) {
            warn!(suppressed_for = %humantime::format_duration(log_throttle::INTERVAL), "AWS call queue full");
        }
        FetchError::QueueFull { retry_after: jitter::at_least(MIN_RETRY_DELAY, RETRY_SPREAD) }
    }
}

impl CallPermit {
    /// Ends the call: updates the latency, and tells the pacer the outcome.
    pub(super) fn record(self, outcome: Outcome) {
        self.bulkhead.latency(self.as_role).record(self.started.elapsed());
        self.bulkhead.pacer.record(self.started, outcome);
    }
}

async fn acquire(semaphore: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(semaphore).acquire_owned().await.ok()
}

fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
