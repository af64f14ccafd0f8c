//! Usage limits: the rate of callers, requests in flight and watched registries, per caller and globally.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use tracing::warn;

pub use self::recent_usage::RecentUsage;
use super::exceeded::{DEFAULT_DELAY, LimitExceeded, Resource, RetryAfter};
use super::hits::{LimitHits, LimitName};
use super::maximum::{Maximum, Maximums};
use super::recent;
use super::settings::Settings;
use super::status::{LimitsStatus, Used};
use crate::caller::Principal;
use crate::clock::Clock;
use crate::log_throttle::LogThrottle;
use crate::metrics::Registry;
use crate::rate::Rate;

mod recent_usage;

/// Memory of one caller's watches that counts as low usage: that of about 200 watches.
const LOW_USAGE_BYTES: usize = 3 * 1024 * 1024;
/// Usage of one caller that counts as low. Callers with high usage must not lock out these: the reserve is theirs.
const LOW_USAGE: usize = 200;
/// Part of each global limit that is kept in reserve, in addition to the limit, for callers with low usage. It ends: an issuer can make
/// up any number of callers.
const RESERVE_SHARE: usize = 8;

/// The usage of all callers, and its limits.
#[derive(Debug, Clone)]
pub(super) struct UsageLimits {
    maximums: Arc<Maximums>,
    clock: Arc<dyn Clock>,
    total: Arc<Usage>,
    total_log: Arc<LogThrottle>,
    hits: LimitHits,
    callers: Cache<Principal, Arc<CallerUsage>>,
}

/// Admitted requests in flight, or admitted watched registries. Released on drop.
#[derive(Debug)]
pub struct Admission {
    caller: Arc<CallerUsage>,
    total: Arc<Usage>,
    resource: Resource,
    count: AtomicUsize,
    /// The same for the child broker that forwards the caller.
    of_broker: Option<Box<Self>>,
}

/// Counts of each resource in use.
#[derive(Debug, Default)]
struct Usage {
    in_flight: AtomicUsize,
    watches: AtomicUsize,
    watch_bytes: AtomicUsize,
}

/// The usage of one caller.
#[derive(Debug)]
struct CallerUsage {
    rate: Rate,
    maximum: Arc<Maximum>,
    usage: Usage,
    log: LogThrottle,
}

impl UsageLimits {
    pub(super) fn new(settings: Settings, clock: Arc<dyn Clock>, hits: LimitHits) -> Self {
        let (total, total_log, callers) = (Arc::default(), Arc::default(), recent::cache(Principal::bytes));
        Self { maximums: Arc::new(Maximums::new(settings)), clock, total, total_log, hits, callers }
    }

    /// Returns the same limits of each caller, without the global ones: the callers that a broker forwards count there themselves.
    pub(super) fn of_brokers(&self) -> Self {
        Self { total: Arc::default(), ..self.clone() }
    }

    /// Registers the usage of all callers together.
    pub(super) fn register(&self, registry: &mut Registry) {
        let total = Arc::clone(&self.total);
        registry.on_scrape(move |scrape| scrape.gauge("ecr_broker_watches", "Watched registries", total.counts().1));
    }

    pub(super) fn admit(&self, principal: &Principal, requests: NonZeroU32) -> Result<Admission, LimitExceeded> {
        let admission = self.enter(principal, Resource::InFlight, requests)?;
        self.check_rate(principal, &admission, requests, Duration::ZERO, self.now()).map(|()| admission)
    }

    /// Admits one request of the caller of `usage`.
    pub(super) fn admit_again(&self, principal: &Principal, usage: &RecentUsage) -> Result<Admission, LimitExceeded> {
        let now = self.now();
        let caller = usage.get(now, || self.caller(principal));
        let admission = Admission::enter(caller, Arc::clone(&self.total), Resource::InFlight, NonZeroU32::MIN);
        self.check(principal, &admission)?;
        self.check_rate(principal, &admission, NonZeroU32::MIN, Duration::ZERO, now).map(|()| admission)
    }

    /// Adds requests to an admission, once it is known how many a call has. The retry delay is that of the whole call: a retry asks
    /// again for the request that it began with.
    pub(super) fn admit_more(
        &self,
        principal: &Principal,
        admission: &Admission,
        requests: NonZeroU32,
    ) -> Result<(), LimitExceeded> {
        let (caller, total) = (Arc::clone(&admission.caller), Arc::clone(&admission.total));
        let more = Admission::enter(caller, total, admission.resource, requests);
        self.check(principal, &more)?;
        let first = admission.caller.rate.time_of_one();
        self.check_rate(principal, &more, requests, first, self.now()).map(|()| admission.merge(more))
    }

    pub(super) fn admit_watch(
        &self,
        principal: &Principal,
        registries: NonZeroU32,
        bytes: NonZeroU32,
    ) -> Result<[Admission; 2], LimitExceeded> {
        Ok([self.enter(principal, Resource::Watches, registries)?, self.enter(principal, Resource::WatchBytes, bytes)?])
    }

    /// Returns the usage of all callers. The unproved connections are not part of it.
    pub(super) fn status(&self) -> LimitsStatus {
        let used = |resource| Used {
            used: self.total.of(resource).load(Ordering::Relaxed),
            max: self.maximums.global().of(resource),
        };
        LimitsStatus {
            requests: used(Resource::InFlight),
            watches: used(Resource::Watches),
            watch_bytes: used(Resource::WatchBytes),
            unproved: Used::default(),
        }
    }

    pub(super) fn keep_alive(&self, principal: &Principal, admission: &Admission) {
        _ = self.callers.get_with_by_ref(principal, || Arc::clone(&admission.caller));
    }

    fn caller(&self, principal: &Principal) -> Arc<CallerUsage> {
        if let Some(caller) = self.callers.get(principal) {
            return caller;
        }
        let (per_second, maximum) = self.maximums.of(principal);
        let (rate, usage, log) = (Rate::new(per_second), Usage::default(), LogThrottle::default());
        let new = || Arc::new(CallerUsage { rate, maximum, usage, log });
        self.callers.get_with_by_ref(principal, new)
    }

    fn enter(&self, principal: &Principal, resource: Resource, count: NonZeroU32) -> Result<Admission, LimitExceeded> {
        let admission = Admission::enter(self.caller(principal), Arc::clone(&self.total), resource, count);
        self.check(principal, &admission).map(|()| admission)
    }

    fn check(&self, principal: &Principal, admission: &Admission) -> Result<(), LimitExceeded> {
        admission.check(self.maximums.global()).inspect_err(|exceeded| {
            self.hits.count(exceeded.limit());
            self.log(principal, exceeded);
        })
    }

    /// Takes requests from the caller's rate. `later` is added to the retry delay.
    fn check_rate(
        &self,
        principal: &Principal,
        admission: &Admission,
        requests: NonZeroU32,
        later: Duration,
        now: Duration,
    ) -> Result<(), LimitExceeded> {
        let exceeded = |wait| LimitExceeded::PerCaller(Resource::InFlight, RetryAfter::spread(wait).later_by(later));
        admission.caller.rate.admit(requests, now).map_err(exceeded).inspect_err(|exceeded| {
            self.hits.count(LimitName::CallerRate);
            self.log(principal, exceeded);
        })
    }

    fn now(&self) -> Duration {
        self.clock.steady()
    }

    fn log(&self, principal: &Principal, exceeded: &LimitExceeded) {
        let caller = self.caller(principal);
        match exceeded {
            LimitExceeded::PerCaller(resource, _) if caller.log.is_due(self.now()) => {
                let resource = resource.name();
                let (in_flight, watches) = caller.usage.counts();
                warn!(caller = %principal, resource, in_flight, watches, "caller limit exceeded");
            }
            LimitExceeded::Global(resource, _) if self.total_log.is_due(self.now()) => {
                let resource = resource.name();
                let (in_flight, watches) = self.total.counts();
                warn!(resource, in_flight, watches, reserved_below = LOW_USAGE, "global limit exceeded");
            }
            LimitExceeded::PerCaller(..) | LimitExceeded::Global(..) => {}
        }
    }
}

impl Usage {
    fn of(&self, resource: Resource) -> &AtomicUsize {
        match resource {
            Resource::InFlight => &self.in_flight,
            Resource::Watches => &self.watches,
            Resource::WatchBytes => &self.watch_bytes,
        }
    }

    fn counts(&self) -> (usize, usize) {
        (self.in_flight.load(Ordering::Relaxed), self.watches.load(Ordering::Relaxed))
    }
}

impl Admission {
    /// Adds to the counts. This comes before the check of the limits: dropping a rejected admission then subtracts exactly what was
    /// added.
    fn enter(caller: Arc<CallerUsage>, total: Arc<Usage>, resource: Resource, count: NonZeroU32) -> Self {
        let count = usize::try_from(count.get()).unwrap_or(usize::MAX);
        caller.usage.of(resource).fetch_add(count, Ordering::Relaxed);
        total.of(resource).fetch_add(count, Ordering::Relaxed);
        Self { caller, total, resource, count: AtomicUsize::new(count), of_broker: None }
    }

    /// Holds the admission of the child broker that forwards the caller, too.
    #[must_use]
    pub fn beside(mut self, of_broker: Self) -> Self {
        self.of_broker = Some(Box::new(of_broker));
        self
    }

    /// Returns the admission of the child broker that forwards the caller.
    #[must_use]
    pub fn of_broker(&self) -> Option<&Self> {
        self.of_broker.as_deref()
    }

    /// Takes over the count of another admission of the same caller.
    fn merge(&self, mut other: Self) {
        self.count.fetch_add(std::mem::take(other.count.get_mut()), Ordering::Relaxed);
    }

    fn check(&self, global: &Maximum) -> Result<(), LimitExceeded> {
        let own = self.caller.usage.of(self.resource).load(Ordering::Relaxed);
        let global = global_for(own, self.resource, global.of(self.resource));
        if own > self.caller.maximum.of(self.resource) {
            Err(LimitExceeded::PerCaller(self.resource, RetryAfter::spread(DEFAULT_DELAY)))
        } else if self.total.of(self.resource).load(Ordering::Relaxed) > global {
            Err(LimitExceeded::Global(self.resource, RetryAfter::spread(DEFAULT_DELAY)))
        } else {
            Ok(())
        }
    }
}

/// Returns the global limit for a caller with this usage.
fn global_for(own: usize, resource: Resource, global: usize) -> usize {
    let low = match resource {
        Resource::InFlight | Resource::Watches => LOW_USAGE,
        Resource::WatchBytes => LOW_USAGE_BYTES,
    };
    if own > low { global } else { global.saturating_add(global / RESERVE_SHARE) }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let count = *self.count.get_mut();
        self.caller.usage.of(self.resource).fetch_sub(count, Ordering::Relaxed);
        self.total.of(self.resource).fetch_sub(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
