//! Rate and concurrency limits per caller, limits of failed authentications and of memory per origin, and of unproved connections.
//!
//! One caller cannot use up what the others need. The state is a few numbers per caller and per origin. The number of entries is
//! bounded, and the entry that was idle for longest is evicted first.

use std::num::NonZeroU32;
use std::sync::Arc;

use self::auth_failures::AuthFailures;
use self::usage::UsageLimits;
use crate::caller::Principal;
use crate::clock::Clock;
use crate::metrics::Registry;

mod auth_failures;
mod exceeded;
mod hits;
mod maximum;
mod memory;
mod origin;
mod recent;
mod request_memory;
mod settings;
mod status;
mod unproved;
mod usage;

#[cfg(test)]
mod test_clock;

pub use self::auth_failures::Attempt;
pub use self::exceeded::{LimitExceeded, Resource, RetryAfter};
pub use self::hits::{LimitHits, LimitName};
pub use self::maximum::MAX_WATCHES;
pub use self::origin::Origin;
pub use self::request_memory::{BodyMemory, ConnectionMemory, HeldMemory, RequestMemory};
pub use self::settings::{CallerLimits, Settings};
pub use self::status::{ConnectionsStatus, LimitsStatus, Used};
pub use self::unproved::{HealthWatch, Unproved, UnprovedCall, UnprovedConnections, UnprovedTlsBytes};
pub use self::usage::{Admission, RecentUsage};
pub(crate) use crate::rate::Rate;

/// The limits and the usage that counts against them. A clone is a handle to the same usage.
#[derive(Debug, Clone)]
pub struct Limits {
    usage: UsageLimits,
    auth_failures: AuthFailures,
    unproved: UnprovedConnections,
    request_memory: RequestMemory,
}

impl Limits {
    /// Starts with no usage.
    #[must_use]
    pub fn new(settings: Settings, clock: &Arc<dyn Clock>, hits: &LimitHits, registry: &mut Registry) -> Self {
        let (clock, hits) = (|| Arc::clone(clock), || hits.clone());
        let auth_failures = AuthFailures::new(settings.failures_per_second, clock(), hits());
        let unproved = UnprovedConnections::new(settings.unproved_connections, clock(), hits());
        let usage = UsageLimits::new(settings, clock(), hits());
        usage.register(registry);
        Self { usage, auth_failures, unproved, request_memory: RequestMemory::new(clock(), hits()) }
    }

    /// Admits `requests` more requests of a caller, all or none.
    ///
    /// # Errors
    /// If the caller exceeds its rate, or the caller or the broker has too many requests in flight.
    pub fn admit(&self, principal: &Principal, requests: NonZeroU32) -> Result<Admission, LimitExceeded> {
        self.usage.admit(principal, requests)
    }

    /// Admits one more request of a caller. `usage` is always that of the same caller.
    ///
    /// # Errors
    /// If the caller exceeds its rate, or the caller or the broker has too many requests in flight.
    pub(crate) fn admit_again(&self, principal: &Principal, usage: &RecentUsage) -> Result<Admission, LimitExceeded> {
        self.usage.admit_again(principal, usage)
    }

    /// Adds `requests` more to an admission of the same caller, all or none.
    ///
    /// # Errors
    /// If the caller exceeds its rate, or the caller or the broker has too many requests in flight.
    pub fn admit_more(
        &self,
        principal: &Principal,
        admission: &Admission,
        requests: NonZeroU32,
    ) -> Result<(), LimitExceeded> {
        self.usage.admit_more(principal, admission, requests)
    }

    /// Admits `registries` more watched registries of a caller and the `bytes` that they take, all or none.
    ///
    /// # Errors
    /// If the caller or the broker watches too many, or if their watches take too much memory.
    pub fn admit_watch(
        &self,
        principal: &Principal,
        registries: NonZeroU32,
        bytes: NonZeroU32,
    ) -> Result<[Admission; 2], LimitExceeded> {
        self.usage.admit_watch(principal, registries, bytes)
    }

    /// Admits requests of callers that a child broker forwards, by the broker's own limits. It could otherwise make up callers.
    ///
    /// # Errors
    /// If the broker exceeds its rate, or has too many requests in flight.
    pub fn admit_broker(&self, broker: &Principal, requests: NonZeroU32) -> Result<Admission, LimitExceeded> {
        self.usage.of_brokers().admit(broker, requests)
    }

    /// Admits watched registries of callers that a child broker forwards, by the broker's own limits.
    ///
    /// # Errors
    /// If the broker watches too many, or if its watches take too much memory.
    pub fn admit_broker_watch(
        &self,
        broker: &Principal,
        registries: NonZeroU32,
        bytes: NonZeroU32,
    ) -> Result<[Admission; 2], LimitExceeded> {
        self.usage.of_brokers().admit_watch(broker, registries, bytes)
    }

    /// Keeps the usage of a caller that only watches from being evicted as idle.
    pub fn keep_alive(&self, principal: &Principal, admission: &Admission) {
        self.usage.keep_alive(principal, admission);
    }

    /// Checks that an origin may try to authenticate.
    ///
    /// # Errors
    /// If too many authentications of this origin failed.
    pub fn check_origin(&self, origin: Origin, attempt: Attempt) -> Result<(), RetryAfter> {
        self.auth_failures.check_origin(origin, attempt)
    }

    /// Counts a failed authentication. Each of several concurrent failures counts.
    pub fn record_failure(&self, origin: Origin, attempt: Attempt) {
        self.auth_failures.record_failure(origin, attempt);
    }

    /// Returns the usage of all callers together, and its limits.
    #[must_use]
    pub fn status(&self) -> LimitsStatus {
        LimitsStatus { unproved: self.unproved.used(), ..self.usage.status() }
    }

    /// Returns the memory of requests on proved connections.
    #[must_use]
    pub fn request_memory(&self) -> &RequestMemory {
        &self.request_memory
    }

    /// Returns the unproved connections.
    #[must_use]
    pub fn unproved(&self) -> &UnprovedConnections {
        &self.unproved
    }
}
