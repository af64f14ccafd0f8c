//! Usage limits: the rate of callers, requests in flight and watched registries, per caller and globally.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use tracing::warn;

use super::exceeded::{DEFAULT_DELAY, LimitExceeded, Resource, RetryAfter};
use super::hits::{LimitHits, LimitName};
use super::rate::Rate;
use super::recent;
use super::settings::Settings;
use super::status::{LimitsStatus, Used};
use crate::caller::Principal;
use crate::clock::Clock;
use crate::log_throttle::LogThrottle;
use crate::metrics::Registry;

/// Global limit of requests in flight; twice the limit of one caller if that is more. If callers read slowly, the answers to this
/// many requests take about 300 MB.
const MAX_IN_FLIGHT: usize = 32_768;
/// Global limit of watched registries. One caller may use half of it.
const MAX_WATCHES: usize = 65_536;
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
    settings: Settings,
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
    usage: Usage,
    log: LogThrottle,
}

/// The limits of a resource, for one caller and for all.
#[derive(Debug, Clone, Copy)]
struct Maximum {
    per_caller: usize,
    global: usize,
    /// Low usage of one caller, which the reserve admits beyond the global limit.
    low: usize,
}

impl Maximum {
    /// Returns the global limit for a caller with this usage.
    fn global_for(self, own: usize) -> usize {
        if own > self.low { self.global } else { self.global.saturating_add(self.global / RESERVE_SHARE) }
    }
}

impl UsageLimits {
    pub(super) fn new(settings: Settings, clock: Arc<dyn Clock>, hits: LimitHits) -> Self {
        let (total, total_log, callers) = (Arc::default(), Arc::default(), recent::cache(Principal::bytes));
        Self { settings, clock, total, total_log, hits, callers }
    }

    /// Registers the usage of all callers together.
    pub(super) fn register(&self, registry: &mut Registry) {
        let total = Arc::clone(&self.total);
        registry.on_scrape(move |scrape| scrape.gauge("ecr_broker_watches", "Watched registries", total.counts().1));
    }

    pub(super) fn admit(&self, principal: &Principal, requests: NonZeroU32) -> Result<Admission, LimitExceeded> {
        let admission = self.enter(principal, Resource::InFlight, requests, self.in_flight())?;
        self.check_rate(principal, &admission, requests).map(|()| admission)
    }

    /// Adds requests to an admission, once it is known how many a call has.
    pub(super) fn admit_more(
        &self,
        principal: &Principal,
        admission: &Admission,
        requests: NonZeroU32,
    ) -> Result<(), LimitExceeded> {
        let (caller, total) = (Arc::clone(&admission.caller), Arc::clone(&admission.total));
        let more = Admission::enter(caller, total, admission.resource, requests);
        self.check(principal, &more, self.in_flight())?;
        self.check_rate(principal, &more, requests).map(|()| admission.merge(more))
    }

    fn in_flight(&self) -> Maximum {
        let per_caller = self.settings.in_flight;
        let global = MAX_IN_FLIGHT.max(per_caller.saturating_mul(2));
        Maximum { per_caller, global, low: LOW_USAGE }
    }

    pub(super) fn admit_watch(
        &self,
        principal: &Principal,
        registries: NonZeroU32,
        bytes: NonZeroU32,
    ) -> Result<[Admission; 2], LimitExceeded> {
        let Settings { watch_memory, watch_memory_per_caller, .. } = self.settings;
        let counted = Maximum { per_caller: MAX_WATCHES / 2, global: MAX_WATCHES, low: LOW_USAGE };
        let sized = Maximum { per_caller: watch_memory_per_caller, global: watch_memory, low: LOW_USAGE_BYTES };
        Ok([
            self.enter(principal, Resource::Watches, registries, counted)?,
            self.enter(principal, Resource::WatchBytes, bytes, sized)?,
        ])
    }

    /// Returns the usage of all callers. The unproved connections are not part of it.
    pub(super) fn status(&self) -> LimitsStatus {
        let used = |resource, max| Used { used: self.total.of(resource).load(Ordering::Relaxed), max };
        LimitsStatus {
            requests: used(Resource::InFlight, self.in_flight().global),
            watches: used(Resource::Watches, MAX_WATCHES),
            watch_bytes: used(Resource::WatchBytes, self.settings.watch_memory),
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
        let Settings { requests_per_second, local_requests_per_second, .. } = self.settings;
        let per_second = if principal.is_local() { local_requests_per_second } else { requests_per_second };
        let (rate, usage, log) = (Rate::new(per_second), Usage::default(), LogThrottle::default());
        let new = || Arc::new(CallerUsage { rate, usage, log });
        self.callers.get_with_by_ref(principal, new)
    }

    fn enter(
        &self,
        principal: &Principal,
        resource: Resource,
        count: NonZeroU32,
        maximum: Maximum,
    ) -> Result<Admission, LimitExceeded> {
        let admission = Admission::enter(self.caller(principal), Arc::clone(&self.total), resource, count);
        self.check(principal, &admission, maximum).map(|()| admission)
    }

    fn check(&self, principal: &Principal, admission: &Admission, maximum: Maximum) -> Result<(), LimitExceeded> {
        admission.check(maximum).inspect_err(|exceeded| {
            self.hits.count(exceeded.limit());
            self.log(principal, exceeded);
        })
    }

    fn check_rate(
        &self,
        principal: &Principal,
        admission: &Admission,
        requests: NonZeroU32,
    ) -> Result<(), LimitExceeded> {
        admission.caller.admit(requests, self.now()).inspect_err(|exceeded| {
            self.hits.count(LimitName::CallerRate);
            self.log(principal, exceeded);
        })
    }

    fn now(&self) -> Duration {
        self.clock.now().steady
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

impl CallerUsage {
    fn admit(&self, requests: NonZeroU32, now: Duration) -> Result<(), LimitExceeded> {
        let exceeded = |wait| LimitExceeded::PerCaller(Resource::InFlight, RetryAfter::spread(wait));
        self.rate.admit(requests, now).map_err(exceeded)
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
        Self { caller, total, resource, count: AtomicUsize::new(count) }
    }

    /// Takes over the count of another admission of the same caller.
    fn merge(&self, mut other: Self) {
        self.count.fetch_add(std::mem::take(other.count.get_mut()), Ordering::Relaxed);
    }

    fn check(&self, maximum: Maximum) -> Result<(), LimitExceeded> {
        let own = self.caller.usage.of(self.resource).load(Ordering::Relaxed);
        if own > maximum.per_caller {
            Err(LimitExceeded::PerCaller(self.resource, RetryAfter::spread(DEFAULT_DELAY)))
        } else if self.total.of(self.resource).load(Ordering::Relaxed) > maximum.global_for(own) {
            Err(LimitExceeded::Global(self.resource, RetryAfter::spread(DEFAULT_DELAY)))
        } else {
            Ok(())
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let count = *self.count.get_mut();
        self.caller.usage.of(self.resource).fetch_sub(count, Ordering::Relaxed);
        self.total.of(self.resource).fetch_sub(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_clock::Still;
    use super::*;

    const WATCH_MEMORY: usize = 128 * 1024 * 1024;

    fn limits(in_flight: usize) -> (UsageLimits, Arc<Still>) {
        let clock = Arc::new(Still::default());
        let hits = LimitHits::new(&mut Registry::default());
        (UsageLimits::new(settings(in_flight), clock.clone(), hits), clock)
    }

    fn settings(in_flight: usize) -> Settings {
        Settings {
            requests_per_second: count(10),
            local_requests_per_second: count(1_000_000),
            in_flight,
            watch_memory: WATCH_MEMORY,
            watch_memory_per_caller: WATCH_MEMORY / 2,
            failures_per_second: count(1),
            unproved_connections: 1,
        }
    }

    fn count(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn remote(name: &str) -> Principal {
        Principal::Dns(name.parse().unwrap())
    }

    fn caller_limit(result: Result<Admission, LimitExceeded>) -> Duration {
        match result {
            Err(LimitExceeded::PerCaller(_, RetryAfter(wait))) => wait,
            other => panic!("the caller's own limit: {other:?}"),
        }
    }

    fn watch_limit(result: &Result<[Admission; 2], LimitExceeded>) {
        assert!(matches!(result, Err(LimitExceeded::PerCaller(..))), "{result:?}");
    }

    fn is_global<T>(result: &Result<T, LimitExceeded>) -> bool {
        matches!(result, Err(LimitExceeded::Global(..)))
    }

    #[test]
    fn remote_caller_has_a_rate_and_a_retry_delay() {
        let (limits, clock) = limits(1_000);
        let (greedy, honest) = (remote("a.example"), remote("b.example"));
        limits.admit(&greedy, count(100)).unwrap();
        let wait = caller_limit(limits.admit(&greedy, count(5)));
        assert!((Duration::from_millis(500)..=Duration::from_secs(1)).contains(&wait), "{wait:?}");
        limits.admit(&honest, count(100)).unwrap();
        clock.advance(wait);
        limits.admit(&greedy, count(5)).unwrap();
        limits.admit(&greedy, count(100)).unwrap_err();
        limits.admit(&greedy, count(101)).unwrap_err();
    }

    #[test]
    fn local_caller_has_a_rate_apart_from_that_of_remote_ones() {
        let rates = (count(1), count(10));
        let rates = Settings { requests_per_second: rates.0, local_requests_per_second: rates.1, ..settings(1_000) };
        let limits = UsageLimits::new(rates, Arc::new(Still::default()), LimitHits::new(&mut Registry::default()));
        for local in [Principal::Uid(1001), Principal::Loopback, Principal::AwsApi] {
            limits.admit(&local, count(100)).unwrap();
            caller_limit(limits.admit(&local, count(1)));
        }
        limits.admit(&Principal::Uid(1002), count(1)).unwrap();
        limits.admit(&remote("a.example"), count(10)).unwrap();
        caller_limit(limits.admit(&remote("a.example"), count(1)));
    }

    #[test]
    fn local_caller_has_a_limit_in_flight() {
        let (limits, _) = limits(200);
        let user = Principal::Uid(1001);
        for _ in 0..100 {
            limits.admit(&user, count(100)).unwrap();
        }
        let full = limits.admit(&user, count(200)).unwrap();
        assert!(caller_limit(limits.admit(&user, count(1))) >= DEFAULT_DELAY);
        limits.admit(&Principal::Uid(1002), count(200)).unwrap();
        drop(full);
        limits.admit(&user, count(200)).unwrap();
    }

    #[test]
    fn added_requests_count_with_their_admission_all_or_none() {
        let (limits, _) = limits(200);
        let user = Principal::Uid(1001);
        let call = limits.admit(&user, count(1)).unwrap();
        limits.admit_more(&user, &call, count(199)).unwrap();
        limits.admit_more(&user, &call, count(1)).unwrap_err();
        caller_limit(limits.admit(&user, count(1)));
        drop(call);
        drop(limits.admit(&user, count(200)).unwrap());
        let (remote, call) = (remote("a.example"), limits.admit(&remote("a.example"), count(1)).unwrap());
        limits.admit_more(&remote, &call, count(100)).unwrap_err();
        limits.admit_more(&remote, &call, count(99)).unwrap();
    }

    #[test]
    fn global_in_flight_limit_spares_callers_with_few_requests() {
        let most = MAX_IN_FLIGHT / 2;
        let (limits, _) = limits(most);
        let most = count(u32::try_from(most).unwrap());
        let full = [1, 2].map(|uid| limits.admit(&Principal::Uid(uid), most).unwrap());
        let few = limits.admit(&Principal::Uid(3), count(200)).unwrap();
        assert!(is_global(&limits.admit(&Principal::Uid(3), count(1))));
        drop(few);
        limits.admit(&Principal::Uid(4), count(1)).unwrap();
        drop(full);
        limits.admit(&Principal::Uid(3), most).unwrap();
    }

    /// An issuer can make up subjects.
    #[test]
    fn any_number_of_callers_with_low_usage_stays_below_a_limit() {
        let (limits, _) = limits(200);
        let few = count(u32::try_from(LOW_USAGE_BYTES).unwrap());
        let watch = |uid| limits.admit_watch(&Principal::Uid(uid), count(1), few);
        let watches: Vec<_> = (0..1_000).map_while(|uid| watch(uid).ok()).collect();
        assert_eq!(watches.len(), (WATCH_MEMORY + WATCH_MEMORY / RESERVE_SHARE) / LOW_USAGE_BYTES);
        assert!(is_global(&watch(1_000)));
        drop(watches);
        watch(1_000).unwrap();
    }

    #[test]
    fn watched_registries_have_separate_limits() {
        let (limits, _) = limits(200);
        let (half, own) = (count(u32::try_from(MAX_WATCHES / 2).unwrap()), Principal::Uid(1));
        let first = limits.admit_watch(&own, half, count(1)).unwrap();
        watch_limit(&limits.admit_watch(&own, count(1), count(1)));
        limits.admit(&own, count(200)).unwrap();
        let second = limits.admit_watch(&Principal::Uid(2), half, count(1)).unwrap();
        assert!(is_global(&limits.admit_watch(&Principal::Uid(3), count(201), count(1))));
        limits.admit_watch(&Principal::Uid(3), count(200), count(1)).unwrap();
        drop((first, second));
        limits.admit_watch(&own, half, count(1)).unwrap();
    }

    #[test]
    fn memory_of_watches_has_a_limit_beside_their_number() {
        let (limits, _) = limits(200);
        let (half, own) = (count(u32::try_from(WATCH_MEMORY / 2).unwrap()), Principal::Uid(1));
        let few = count(u32::try_from(LOW_USAGE_BYTES).unwrap());
        let first = limits.admit_watch(&own, count(1), half).unwrap();
        watch_limit(&limits.admit_watch(&own, count(1), count(1)));
        let second = limits.admit_watch(&Principal::Uid(2), count(1), half).unwrap();
        limits.admit_watch(&Principal::Uid(3), count(1), few).unwrap();
        assert!(is_global(&limits.admit_watch(&Principal::Uid(3), count(1), few.saturating_add(1))));
        drop((first, second));
        limits.admit_watch(&own, count(1), half).unwrap();
        let usage = limits.caller(&own);
        assert_eq!((usage.usage.counts().1, usage.usage.watch_bytes.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn remembered_callers_are_bounded() {
        let (limits, _) = limits(1);
        for number in 0..u32::try_from(recent::MAX_BYTES / recent::ENTRY_BYTES as u64).unwrap() + 5_000 {
            _ = limits.admit(&Principal::Uid(number), count(1));
        }
        limits.callers.run_pending_tasks();
        assert!(limits.callers.weighted_size() <= recent::MAX_BYTES);
    }

    /// An issuer can make up subjects of 512 bytes, and a trust domain paths of 2 KB.
    #[test]
    fn p8_remembered_callers_with_long_names_are_bounded_in_bytes() {
        let (limits, _) = limits(1);
        for number in 0..40_000 {
            let subject = format!("{number:0512}").into();
            _ = limits.admit(&Principal::Token { issuer: "ci".into(), subject }, count(1));
        }
        limits.callers.run_pending_tasks();
        assert!(limits.callers.weighted_size() <= recent::MAX_BYTES);
        assert!((20_000..25_000).contains(&limits.callers.entry_count()), "{}", limits.callers.entry_count());
    }
}
