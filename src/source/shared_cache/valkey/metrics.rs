//! Metrics of the operations of the shared cache.

use tokio::time::Instant;

use super::fault::{Fault, FaultClass};
use crate::metrics::{Family, Histogram, Registry, labels};

labels! {
    /// An operation.
    pub(super) enum Operation: "operation" {
        GetOrLease = "get_or_lease",
        Renew = "renew",
        Put = "put",
        Fail = "fail",
        Release = "release",
        Invalidate = "invalidate",
    }
}

labels! {
    /// How an operation ended.
    enum OperationResult: "result" {
        Ok = "ok",
        Timeout = "timeout",
        Failed = "failed",
        BreakerOpen = "breaker_open",
    }
}

/// Metrics. A clone is a handle of the same.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    durations: Family<(Operation, OperationResult), Histogram>,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let help = "Duration of operations of the shared cache; breaker_open: not sent, after failures";
        Self { durations: registry.call_durations("ecr_broker_shared_cache_operation_duration_seconds", help) }
    }

    pub(super) fn record(&self, operation: Operation, started: Instant, fault: Option<&Fault>) {
        let result = match fault {
            None => OperationResult::Ok,
            Some(Fault::Open) => OperationResult::BreakerOpen,
            Some(fault) if fault.class() == FaultClass::Timeout => OperationResult::Timeout,
            Some(_) => OperationResult::Failed,
        };
        self.durations.with((operation, result)).observe(started.elapsed());
    }
}
