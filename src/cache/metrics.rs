//! Metrics of the cache.

use moka::notification::RemovalCause;

use crate::error::BrokerError;
use crate::limits::{LimitHits, LimitName};
use crate::metrics::{Counter, Family, Registry, labels};
use crate::source::failure_labels;

labels! {
    /// Why a credential left the cache, other than for a newer one.
    enum Cause: "cause" {
        /// It has expired, or its only caller was idle.
        Expired = "expired",
        /// The cache is full.
        Capacity = "capacity",
        /// The source denied its refresh.
        Revoked = "revoked",
        /// A reload replaced or removed its profile.
        ProfileChanged = "profile_changed",
    }
}

failure_labels! {
    /// Why a refresh failed.
    enum Class: "class" { QueueFull = "queue_full", Internal = "internal" }
}

/// Metrics of the cache. A clone is a handle of the same.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    evictions: Family<Cause, Counter>,
    refresh_failures: Family<Class, Counter>,
    pub(super) limit_hits: LimitHits,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry, limit_hits: LimitHits) -> Self {
        let evictions = "Credentials that left the cache, other than for a newer one";
        Self {
            evictions: registry.counters("ecr_broker_cache_evictions_total", evictions),
            refresh_failures: registry.counters("ecr_broker_refresh_failures_total", "Failed refreshes"),
            limit_hits,
        }
    }

    pub(super) fn evicted(&self, cause: RemovalCause, is_retired: impl Fn() -> bool) {
        let cause = match cause {
            RemovalCause::Expired => Cause::Expired,
            RemovalCause::Size => Cause::Capacity,
            RemovalCause::Explicit if is_retired() => Cause::ProfileChanged,
            RemovalCause::Explicit => Cause::Revoked,
            RemovalCause::Replaced => return,
        };
        self.evictions.with(cause).inc();
    }

    pub(super) fn refresh_failed(&self, error: &BrokerError) {
        self.refresh_failures.with(Class::of(error)).inc();
    }

    /// Counts a call that was not made, because the queue was full.
    pub(super) fn queue_full(&self) {
        self.limit_hits.count(LimitName::UpstreamQueue);
    }
}

impl Class {
    fn of(error: &BrokerError) -> Self {
        match error {
            BrokerError::Upstream(failure) => failure.class.into(),
            BrokerError::QueueFull { .. } => Self::QueueFull,
            _ => Self::Internal,
        }
    }
}
