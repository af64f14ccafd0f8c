//! Bulkhead: limits the calls to one service in one region, so that a slow region does not delay the others.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::concurrency_limit::{ConcurrencyLimit, shared, to_u32};
use super::fair_queue::{FairQueue, LanePlace};
use super::first_share::ExemptCalls;
use super::latency::LatencyEwma;
use super::outcome::Outcome;
use super::pacer::Pacer;
use super::region_slots::RegionSlots;
use super::retry_budget::RetryBudget;
use super::slots::Slot;
use super::total_limit::{LimitPermit, QueuedCall, TotalLimit};
use crate::caller::Principal;
use crate::credential::ProfileName;
use crate::credential::SourceName;
use crate::log_throttle::{self, LogThrottle};
use crate::registry::Region;
use crate::source::progress::retry_delay;
use crate::source::span::record_queue_full;
use crate::source::{FetchError, FetchProgress, FetchRequest, RegionStatus};
use crate::sync::lock;

/// Longest time that a call may queue. As long as the longest request: a caller that retries after its deadline finds the call ahead of
/// new ones, or its result cached.
pub(super) const MAX_QUEUE_TIME: Duration = Duration::from_secs(30);

/// Limits, queues and paces the calls of one service in one region.
#[derive(Debug)]
pub(super) struct Bulkhead {
    pub(super) retry_budget: RetryBudget,
    total: Arc<TotalLimit>,
    limit: Mutex<ConcurrencyLimit>,
    /// Slots of the first calls, which a region always has: however many calls hang elsewhere, they do not count in `total` (P7).
    first: RegionSlots,
    /// The first calls that do not count in their requesters' shares either.
    exempt: ExemptCalls,
    /// Slots of the calls beyond the first ones, which count in `total`.
    beyond: RegionSlots,
    queue: FairQueue,
    /// Locked by the call that starts next. The first calls of the other lanes queue for the lock, so lanes take turns.
    next: tokio::sync::Mutex<()>,
    /// The same for the calls beyond the first ones. Calls with a role have their own: while roles use up their part of `total`,
    /// they do not delay the broker's own identity.
    next_beyond: tokio::sync::Mutex<()>,
    next_beyond_as_role: tokio::sync::Mutex<()>,
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
    _slots: HeldSlots,
}

/// What a call holds while it is in flight.
#[derive(Debug)]
struct HeldSlots {
    /// Of the requester's share of the first calls, if the call is one of them.
    _of_first: Option<OwnedSemaphorePermit>,
    _as_role: Option<Slot>,
    _slot: Slot,
    /// Of the requester's share and of the total, if the call is beyond the region's first ones.
    _beyond: Option<[LimitPermit; 2]>,
}

/// A call in its lane, and among the queued calls of its requester.
#[derive(Debug)]
struct Queued {
    place: LanePlace,
    call: QueuedCall,
}

impl Bulkhead {
    /// Starts with a limit of up to `max_in_flight` calls in the region, within the limits over all regions.
    pub(super) fn new(max_in_flight: usize, total: Arc<TotalLimit>) -> Self {
        let limit = ConcurrencyLimit::new(max_in_flight);
        Self {
            retry_budget: RetryBudget::new(),
            total,
            first: RegionSlots::new(limit.first()),
            exempt: ExemptCalls::default(),
            beyond: RegionSlots::new(limit.beyond()),
            limit: Mutex::new(limit),
            queue: FairQueue::default(),
            next: tokio::sync::Mutex::default(),
            next_beyond: tokio::sync::Mutex::default(),
            next_beyond_as_role: tokio::sync::Mutex::default(),
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

    /// Returns the state of the calls, which are those of `region`.
    pub(super) fn status(&self, source: SourceName, region: Option<Region>) -> RegionStatus {
        let (first, beyond) = {
            let limit = lock(&self.limit);
            (limit.first().all, limit.beyond().all)
        };
        RegionStatus {
            source,
            region,
            in_flight: self.first.all.in_use() + self.beyond.all.in_use(),
            limit: first + beyond,
            queued: self.queue.fetches(),
            interval: self.pacer.interval(),
            retries_left: self.retry_budget.retries_left(),
            throttled_ago: self.pacer.throttled_ago(),
        }
    }

    /// Queues for a call. Fails at once if the wait would be too long.
    pub(super) async fn acquire(self: &Arc<Self>, request: &FetchRequest) -> Result<CallPermit, FetchError> {
        request.progress.add_requester(request.requester.as_ref());
        let as_role = request.key.profile != ProfileName::default_profile();
        let permit = timeout(MAX_QUEUE_TIME, self.wait_in_lanes(&request.progress, as_role)).await;
        request.progress.leave_queue();
        permit.unwrap_or(None).ok_or_else(|| self.queue_full())
    }

    /// Queues in the lane of each requester, also of those that join later: the first lane that serves the call counts. A requester thus
    /// never waits in the long lane of another one. `None`: no lane has room.
    async fn wait_in_lanes(self: &Arc<Self>, progress: &FetchProgress, as_role: bool) -> Option<CallPermit> {
        let _fetch = self.queue.begin_fetch();
        let (mut lanes, mut requesters, mut entered) = (FuturesUnordered::new(), progress.requesters(), 0);
        loop {
            let new: Vec<_> = requesters.borrow_and_update().iter().skip(entered).cloned().collect();
            entered += new.len();
            let queued = new.iter().filter_map(|requester| self.enter_lane(requester.as_ref(), as_role, progress));
            lanes.extend(queued.map(|queued| self.wait(queued, as_role)));
            tokio::select! {
                biased;
                permit = lanes.next() => return permit.flatten(),
                Ok(()) = requesters.changed() => {}
            }
        }
    }

    /// Enters the requester's lane. `None`: the requester has too many queued calls, or the wait would be too long.
    fn enter_lane(&self, requester: Option<&Principal>, as_role: bool, progress: &FetchProgress) -> Option<Queued> {
        let call = self.total.enqueue(requester);
        let queued = call.map(|call| Queued { place: self.queue.enter((requester.cloned(), as_role)), call });
        let wait = queued.as_ref().map_or(Duration::MAX, |queued| self.expected_wait(queued, as_role));
        progress.enter_lane(requester, Instant::now() + wait.min(MAX_QUEUE_TIME));
        queued.filter(|_| wait <= MAX_QUEUE_TIME)
    }

    /// Waits until the call heads its lane, then for one of the region's first slots or for one beyond them.
    ///
    /// What a call holds meanwhile cannot block another lane: of each lane only the first call holds anything, and only of its
    /// requester's share and of the roles' slots. `None` never happens: no semaphore is closed.
    async fn wait(self: &Arc<Self>, queued: Queued, as_role: bool) -> Option<CallPermit> {
        let _head = queued.place.head().await;
        let slots = tokio::select! {
            biased;
            slots = self.wait_for_first(&queued, as_role) => slots?,
            slots = self.wait_beyond(&queued.call, as_role) => slots?,
        };
        Some(CallPermit { bulkhead: Arc::clone(self), started: Instant::now(), as_role, _slots: slots })
    }

    /// Waits for the requester's share of the first calls and for one of the region's first slots, then for its turn.
    async fn wait_for_first(&self, queued: &Queued, as_role: bool) -> Option<HeldSlots> {
        let of_requester = queued.call.acquire_first(&self.exempt, queued.place.lane()).await?;
        let of_roles = self.first.acquire_as_role(as_role).await;
        let _next = self.next.lock().await;
        let slot = self.first.all.acquire().await;
        // Last, and with the turn: the interval lies between the starts of two calls, and no lane has two calls that wait for it.
        self.pacer.wait().await;
        Some(HeldSlots { _of_first: Some(of_requester), _as_role: of_roles, _slot: slot, _beyond: None })
    }

    /// Waits for the requester's share, for a slot beyond the first ones, and for the total, then for its turn.
    async fn wait_beyond(&self, call: &QueuedCall, as_role: bool) -> Option<HeldSlots> {
        let of_requester = call.acquire(as_role).await?;
        let of_roles = self.beyond.acquire_as_role(as_role).await;
        let next = if as_role { &self.next_beyond_as_role } else { &self.next_beyond };
        let _next = next.lock().await;
        let slot = self.beyond.all.acquire().await;
        let of_total = self.total.acquire(as_role).await?;
        self.pacer.wait().await;
        Some(HeldSlots { _of_first: None, _as_role: of_roles, _slot: slot, _beyond: Some([of_requester, of_total]) })
    }

    /// Estimates the wait of a queued call: for the calls ahead of it in the region, or for the requester's share.
    fn expected_wait(&self, queued: &Queued, as_role: bool) -> Duration {
        let (ahead, latency) = (queued.place.calls_ahead(), self.latency(as_role).get());
        let in_region = lock(&self.limit).wait(ahead + self.in_use_if_full(as_role), as_role, latency);
        let paced = self.pacer.interval().saturating_mul(to_u32(ahead));
        in_region.max(self.wait_for_share(queued, as_role, latency)).max(paced)
    }

    /// Estimates the wait for the requester's share, while that is used up, or for the region's first slots, if these come sooner.
    fn wait_for_share(&self, queued: &Queued, as_role: bool, latency: Duration) -> Duration {
        if !queued.call.is_share_used_up(as_role) {
            return Duration::ZERO;
        }
        let calls = queued.place.calls_ahead() + self.first.in_use_if_full(as_role).unwrap_or(0);
        let first = lock(&self.limit).wait_for_first(calls, as_role, latency);
        shared(latency, queued.call.others(), self.total.max_of_one()).min(first)
    }

    /// Returns the calls in flight if a new one cannot start. They count as ahead, as if they had just started. So an estimate is too
    /// long by at most the time of one call.
    fn in_use_if_full(&self, as_role: bool) -> usize {
        let (first, beyond) = (self.first.in_use_if_full(as_role), self.beyond.in_use_if_full(as_role));
        first.zip(beyond).map_or(0, |(first, beyond)| first + beyond)
    }

    fn latency(&self, as_role: bool) -> &LatencyEwma {
        if as_role { &self.latency_as_role } else { &self.latency }
    }

    /// Adjusts the limit, the pacer and the latency to a call that has ended.
    fn record(&self, started: Instant, as_role: bool, outcome: Outcome) {
        // The time until a call was given up says nothing of the latency. After an outage it would refuse callers that AWS serves at once.
        if outcome != Outcome::Unanswered {
            self.latency(as_role).record(started.elapsed());
        }
        self.pacer.record(started, outcome);
        let mut limit = lock(&self.limit);
        limit.record(started, outcome);
        self.first.resize(limit.first());
        self.beyond.resize(limit.beyond());
    }

    /// Returns the error of a call that was not made. Logs at most one line a minute, in the span of the current call.
    fn queue_full(&self) -> FetchError {
        record_queue_full();
        if self.queue_full_log.is_due(self.created.elapsed()) {
            warn!(suppressed_for = %humantime::format_duration(log_throttle::INTERVAL), "AWS call queue full");
        }
        FetchError::QueueFull { retry_after: retry_delay(Duration::ZERO) }
    }
}

impl CallPermit {
    /// Ends the call, and records its outcome.
    pub(super) fn record(self, outcome: Outcome) {
        self.bulkhead.record(self.started, self.as_role, outcome);
    }
}
