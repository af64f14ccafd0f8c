//! What stands between the cache and AWS: bulkheads, a pace while AWS throttles, and a second try.
//!
//! Every service in every region has calls of its own in flight, so that a slow or dead one takes nothing from the others (P7). While AWS
//! throttles one, calls to it are spaced so far apart that most of them are let through: more would only be refused, and cost those that
//! would not have been. What has no prospect of being called soon fails at once, with the time to wait.
//!
//! Those who cause calls wait in lanes of their own, so that nobody who asks for ten thousand registries delays who asks for one.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::caller::Principal;
use crate::credential::{Credential, ProfileName};
use crate::error::{FailureClass, SourceName, UpstreamError};
use crate::jitter;
use crate::registry::Region;
use crate::source::span::{record_failure, record_queue_full};
use crate::source::{CredentialSource, FetchError, FetchRequest, SourceFuture, SourceStatus};
use crate::sync::lock;

/// Calls in flight to one service in one region.
const MOST_IN_FLIGHT: usize = 8;
/// How long a call may wait for its turn.
const LONGEST_QUEUE: Duration = Duration::from_secs(5);
/// Whoever had no turn may ask for one again after about this time.
const NEXT_TURN: Duration = Duration::from_secs(1);
/// The gap between calls once AWS has throttled one; each further time it doubles.
const FIRST_GAP: Duration = Duration::from_millis(50);
const LONGEST_GAP: Duration = Duration::from_millis(500);
/// A gap that has shrunk below this is none any more.
const SHORTEST_GAP: Duration = Duration::from_millis(5);
/// How a call that goes well shrinks it: about seven make up for one that was throttled.
const SHRINK: f64 = 0.9;
/// Of these, calls as a role of a profile's: what STS holds up must leave something to calls by the broker's own identity.
const MOST_AS_ROLES: usize = 6;
/// Regions that are remembered while nothing is to be remembered of them. AWS has fewer than 50; callers may name others.
const REGIONS: usize = 500;
/// Lanes that there may be before those that nobody is in are taken away.
const LANES: usize = 100;
/// How often it is said that there are more calls to be made than can be.
const REPORT_INTERVAL: Duration = Duration::from_mins(1);
/// What a call takes, as long as it is not known.
const TYPICAL_CALL: Duration = Duration::from_millis(100);
/// How much the last call counts in what calls take.
const NEWS: f64 = 0.1;
/// Tries of one call.
const TRIES: u32 = 3;
/// The longest pause before the second try; before the third it is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Second tries are at most so many, beyond a tenth of all calls: when all fail, trying again only adds to AWS's load.
const SPARE_TRIES: f64 = 10.0;
const TRIES_PER_CALL: f64 = 0.1;

/// A source behind bulkheads.
#[derive(Debug)]
pub struct AdmissionControl<S> {
    source: S,
    /// By region; ECR Public has none.
    bulkheads: Mutex<HashMap<Option<Region>, Arc<Bulkhead>>>,
}

/// What one service in one region may do.
#[derive(Debug)]
struct Bulkhead {
    in_flight: Arc<Semaphore>,
    /// By who causes the calls, the broker itself among them, and whether they are made as roles.
    lanes: Mutex<HashMap<LaneKey, Arc<Lane>>>,
    as_roles: Arc<Semaphore>,
    /// Second tries that may be made.
    budget: Mutex<f64>,
    /// Who has it waits for the next call's time to come, which may be put off meanwhile; the others wait for it.
    next: tokio::sync::Mutex<()>,
    pace: Mutex<Pace>,
    /// What calls take, by the broker's own identity and as roles, in the mean of the last ones.
    typical: [Mutex<Duration>; 2],
    /// When it was last said that some had no turn.
    reported: Mutex<Option<Instant>>,
}

type LaneKey = (Option<Principal>, bool);

/// The calls that one caller causes and that are not in flight yet.
#[derive(Debug, Default)]
struct Lane {
    /// Whoever has it waits beside the first of other lanes, and all behind it wait for it: so lanes take turns.
    head: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
}

/// A place in a lane, given up when it goes.
struct Waiting<'a> {
    lane: &'a Lane,
    in_front: usize,
}

#[derive(Debug)]
struct Pace {
    /// Between the beginnings of two calls.
    gap: Duration,
    /// When the next one may begin.
    next: Instant,
    /// When the gap was last made longer: what had begun by then says nothing new.
    slowed: Option<Instant>,
}

/// The right to make a call.
struct Turn {
    bulkhead: Arc<Bulkhead>,
    began: Instant,
    as_role: bool,
    /// Of those who need roles, and of all.
    _permits: (Option<OwnedSemaphorePermit>, OwnedSemaphorePermit),
}

impl<S: CredentialSource> AdmissionControl<S> {
    /// Limits the calls to `source`.
    #[must_use]
    pub fn new(source: S) -> Self {
        Self { source, bulkheads: Mutex::default() }
    }

    async fn guarded(&self, request: &FetchRequest) -> Result<Credential, FetchError> {
        let key = &request.key;
        let bulkhead = self.bulkhead(key.registry.region().cloned());
        let as_role = key.profile != ProfileName::default_profile();
        let turn = bulkhead.turn(request.requester.as_ref(), as_role).await?;
        let result = timeout(self.source.fetch_budget(), self.try_again(request, &turn.bulkhead)).await;
        let result = result.unwrap_or_else(|_| Err(self.timed_out().into()));
        turn.settle(&result);
        result
    }

    /// What passes by itself is tried again, as long as that is the exception.
    async fn try_again(&self, request: &FetchRequest, bulkhead: &Bulkhead) -> Result<Credential, FetchError> {
        bulkhead.earn_tries();
        for again in 1..TRIES {
            match self.source.fetch(request).await {
                Err(FetchError::Upstream(failure)) if is_transient(&failure) && bulkhead.spend_try() => {
                    let longest = FIRST_PAUSE * 2_u32.pow(again - 1);
                    debug!(again, "the call is made again");
                    // Anywhere in it, so that those who failed together do not come back together.
                    sleep(jitter::up_to(longest)).await;
                }
                result => return result,
            }
        }
        self.source.fetch(request).await
    }

    fn timed_out(&self) -> UpstreamError {
        warn!(limit = %humantime::format_duration(self.source.fetch_budget()), "AWS call timed out");
        record_failure(FailureClass::Unavailable);
        UpstreamError::new(self.source.name(), FailureClass::Unavailable)
    }

    /// One that has calls in flight, or a pace to keep, is never forgotten.
    fn bulkhead(&self, region: Option<Region>) -> Arc<Bulkhead> {
        let mut bulkheads = lock(&self.bulkheads);
        if bulkheads.len() >= REGIONS && !bulkheads.contains_key(&region) {
            bulkheads.retain(|_, bulkhead| Arc::strong_count(bulkhead) > 1 || !lock(&bulkhead.pace).gap.is_zero());
        }
        Arc::clone(bulkheads.entry(region).or_insert_with(|| Arc::new(Bulkhead::new())))
    }
}

impl<S: CredentialSource> CredentialSource for AdmissionControl<S> {
    fn name(&self) -> SourceName {
        self.source.name()
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        Box::pin(self.guarded(request))
    }

    fn status(&self) -> SourceStatus {
        self.source.status()
    }

    fn check(&self) -> SourceFuture<'_, SourceStatus> {
        self.source.check()
    }

    fn fetch_budget(&self) -> Duration {
        LONGEST_QUEUE + self.source.fetch_budget()
    }
}

/// Throttling is not tried again here, nor where AWS said when to come back: the cache holds such failures for the time.
fn is_transient(failure: &UpstreamError) -> bool {
    failure.class == FailureClass::Unavailable && failure.retry_after.is_none()
}

impl Bulkhead {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            in_flight: Arc::new(Semaphore::new(MOST_IN_FLIGHT)),
            lanes: Mutex::default(),
            as_roles: Arc::new(Semaphore::new(MOST_AS_ROLES)),
            budget: Mutex::new(SPARE_TRIES),
            next: tokio::sync::Mutex::default(),
            pace: Mutex::new(Pace { gap: Duration::ZERO, next: now, slowed: None }),
            typical: [Mutex::new(TYPICAL_CALL), Mutex::new(TYPICAL_CALL)],
            reported: Mutex::default(),
        }
    }

    fn earn_tries(&self) {
        let mut budget = lock(&self.budget);
        *budget = (*budget + TRIES_PER_CALL).min(SPARE_TRIES);
    }

    fn spend_try(&self) -> bool {
        let mut budget = lock(&self.budget);
        let enough = *budget >= 1.0;
        if enough {
            *budget -= 1.0;
        }
        enough
    }

    /// Waits for a turn, if there is one soon.
    async fn turn(self: &Arc<Self>, requester: Option<&Principal>, as_role: bool) -> Result<Turn, FetchError> {
        let lane = self.lane((requester.cloned(), as_role));
        let waiting = Waiting::in_lane(&lane);
        if self.wait_behind(waiting.in_front, as_role) > LONGEST_QUEUE {
            return Err(self.no_turn());
        }
        let wait = async {
            // The semaphores are never closed.
            let _head = lane.head.lock().await;
            let as_role = if as_role { Arc::clone(&self.as_roles).acquire_owned().await.ok() } else { None };
            let permit = Arc::clone(&self.in_flight).acquire_owned().await.ok()?;
            let _first = self.next.lock().await;
            loop {
                let Some(begin) = self.begin() else { return Some((as_role, permit)) };
                sleep_until(begin).await;
            }
        };
        let Ok(Some(permits)) = timeout(LONGEST_QUEUE, wait).await else { return Err(self.no_turn()) };
        Ok(Turn { bulkhead: Arc::clone(self), began: Instant::now(), as_role, _permits: permits })
    }

    /// One that somebody is in is never forgotten.
    fn lane(&self, of: LaneKey) -> Arc<Lane> {
        let mut lanes = lock(&self.lanes);
        if lanes.len() >= LANES && !lanes.contains_key(&of) {
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
        }
        Arc::clone(lanes.entry(of).or_default())
    }

    /// How long it takes, about, until a lane with so many calls before this one comes to it.
    fn wait_behind(&self, calls: usize, as_role: bool) -> Duration {
        let together = if as_role { MOST_AS_ROLES } else { MOST_IN_FLIGHT };
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let of_one = *lock(&self.typical[usize::from(as_role)]) / number(together);
        lock(&self.pace).gap.max(of_one).saturating_mul(number(calls))
    }

    /// AWS was not even called, so that it may be soon. One line for many of them.
    fn no_turn(&self) -> FetchError {
        record_queue_full();
        let now = Instant::now();
        let mut reported = lock(&self.reported);
        if reported.is_none_or(|last| now.duration_since(last) >= REPORT_INTERVAL) {
            *reported = Some(now);
            warn!(
                suppressed_for = %humantime::format_duration(REPORT_INTERVAL), "AWS call queue full"
            );
        }
        FetchError::QueueFull { retry_after: jitter::at_least(NEXT_TURN / 2, 2.0) }
    }

    /// When the next call may begin; none where that is now, and it does.
    fn begin(&self) -> Option<Instant> {
        let (now, mut pace) = (Instant::now(), lock(&self.pace));
        if pace.next > now {
            return Some(pace.next);
        }
        pace.next = now + pace.gap;
        None
    }
}

impl<'a> Waiting<'a> {
    fn in_lane(lane: &'a Lane) -> Self {
        Self { lane, in_front: lane.waiting.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.lane.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pace {
    fn shrink(&mut self) {
        self.gap = self.gap.mul_f64(SHRINK);
        if self.gap < SHORTEST_GAP {
            self.gap = Duration::ZERO;
        }
    }
}

impl Turn {
    fn note_time(&self, taken: Duration) {
        let mut typical = lock(&self.bulkhead.typical[usize::from(self.as_role)]);
        *typical = typical.mul_f64(1.0 - NEWS) + taken.mul_f64(NEWS);
    }

    /// Learns from what came of the call.
    fn settle(self, result: &Result<Credential, FetchError>) {
        let now = Instant::now();
        self.note_time(now.duration_since(self.began));
        let mut pace = lock(&self.bulkhead.pace);
        if pace.slowed.is_some_and(|slowed| self.began <= slowed) {
            return;
        }
        match result {
            Ok(_) => pace.shrink(),
            // AWS let the call through.
            Err(FetchError::Upstream(failure)) if failure.class == FailureClass::Denied => pace.shrink(),
            Err(FetchError::Upstream(failure)) if failure.class == FailureClass::Throttled => {
                pace.gap = (pace.gap * 2).clamp(FIRST_GAP, LONGEST_GAP);
                pace.slowed = Some(now);
                pace.next = pace.next.max(now + pace.gap);
                info!(gap = ?pace.gap, "AWS throttles the broker's calls, which are spaced from now on");
            }
            Err(_) => {}
        }
    }
}
