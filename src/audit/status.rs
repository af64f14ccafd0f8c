//! State of the audit log, for the status.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::metrics::Registry;

/// The state of the audit log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditStatus {
    /// Records that wait to be written.
    pub queued: usize,
    /// Written records.
    pub written: u64,
    /// Records that could not be written.
    pub failed: u64,
    /// Records that were not passed to the output: the queue was full, or little space was left. A later record counts rejections.
    pub dropped: u64,
    /// Whether the last write failed, so that nothing is released.
    pub is_failing: bool,
    /// Whether so little space is free that denials are only counted.
    pub is_below_reserve: bool,
}

/// What the writer reports.
#[derive(Debug, Default)]
pub(super) struct WriterStatus {
    pub(super) written: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) is_failing: AtomicBool,
    pub(super) is_below_reserve: AtomicBool,
}

impl WriterStatus {
    pub(super) fn record(&self, records: usize, is_written: bool) {
        let counter = if is_written { &self.written } else { &self.failed };
        counter.fetch_add(records.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
        self.is_failing.store(!is_written, Ordering::Relaxed);
    }

    /// Returns whether the last write succeeded and enough space is free.
    pub(super) fn is_well(&self) -> bool {
        !self.is_failing.load(Ordering::Relaxed) && !self.is_below_reserve.load(Ordering::Relaxed)
    }

    /// Counts records that are not passed to the output.
    pub(super) fn count_dropped(&self, records: usize) {
        if records > 0 {
            self.dropped.fetch_add(records.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// Exposes the counts.
    pub(super) fn register(self: Arc<Self>, registry: &mut Registry) {
        registry.on_scrape(move |scrape| {
            let count = |result, count: &AtomicU64| ([("result", result)], count.load(Ordering::Relaxed));
            let counts = [("written", &self.written), ("failed", &self.failed), ("dropped", &self.dropped)];
            let counts = counts.map(|(result, of_result)| count(result, of_result));
            scrape.counters("ecr_broker_audit_records_total", "Audit records, by what became of them", counts)
        });
    }

    pub(super) fn snapshot(&self, queued: usize) -> AuditStatus {
        AuditStatus {
            queued,
            written: self.written.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            is_failing: self.is_failing.load(Ordering::Relaxed),
            is_below_reserve: self.is_below_reserve.load(Ordering::Relaxed),
        }
    }
}
