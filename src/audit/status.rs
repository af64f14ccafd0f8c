//! State of the audit log, for the status.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tracing::error;

use super::settings::OnFailure;
use crate::metrics::Registry;

/// Releases before or without their record.
const UNRECORDED: &str = "ecr_broker_audit_unrecorded_releases_total";
/// Records that wait for the log.
const BUFFERED: &str = "ecr_broker_audit_buffered_records";

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
    /// Records of releases that were made without one, and that wait for the log to work again.
    pub buffered: usize,
    /// Releases that have no record and will have none.
    pub lost: u64,
    /// Whether the last write failed. Nothing is released then, unless `releases` says so.
    pub is_failing: bool,
    /// Whether credentials are released while the log fails (`audit.on_failure`).
    pub releases: bool,
    /// Whether so little space is free that denials are only counted.
    pub is_below_reserve: bool,
}

/// What the writer reports.
#[derive(Debug, Default)]
pub(crate) struct WriterStatus {
    pub(super) written: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) dropped: AtomicU64,
    /// Releases before their record was written.
    pub(super) unrecorded: AtomicU64,
    pub(super) lost: AtomicU64,
    /// Records in the backlog now.
    pub(super) buffered: AtomicUsize,
    pub(super) is_failing: AtomicBool,
    pub(super) is_below_reserve: AtomicBool,
    /// Whether a write took longer than a release waits, and has not ended.
    pub(super) is_stalled: AtomicBool,
    /// Whether credentials are released while the log fails.
    pub(super) releases: bool,
}

impl WriterStatus {
    /// Returns the state of a log that has this policy.
    pub(super) fn new(on_failure: OnFailure) -> Self {
        Self { releases: matches!(on_failure, OnFailure::Release { .. }), ..Self::default() }
    }

    pub(super) fn record(&self, records: usize, is_written: bool) {
        let counter = if is_written { &self.written } else { &self.failed };
        counter.fetch_add(records.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
        self.is_failing.store(!is_written, Ordering::Relaxed);
    }

    /// Counts written records.
    pub(super) fn count_written(&self, records: usize) {
        self.written.fetch_add(records.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Counts records that could not be written.
    pub(super) fn count_failed(&self, records: usize) {
        self.failed.fetch_add(records.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
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

    /// Counts a release whose record will never be written.
    pub(super) fn count_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a release whose record is written later.
    pub(super) fn count_unrecorded(&self) {
        self.unrecorded.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a write takes too long. Further releases do not wait for it.
    pub(super) fn note_stall(&self) {
        if !self.is_stalled.swap(true, Ordering::Relaxed) {
            error!("audit log write hangs; credentials are released before their records are written");
        }
    }

    /// Exposes the counts.
    pub(super) fn register(self: Arc<Self>, registry: &mut Registry) {
        registry.on_scrape(move |scrape| {
            let count = |result, count: &AtomicU64| ([("result", result)], count.load(Ordering::Relaxed));
            let counts = [("written", &self.written), ("failed", &self.failed), ("dropped", &self.dropped)];
            let counts = counts.map(|(result, of_result)| count(result, of_result));
            scrape.counters("ecr_broker_audit_records_total", "Audit records, by what became of them", counts)?;
            let unrecorded = [("delayed", &self.unrecorded), ("lost", &self.lost)];
            let unrecorded = unrecorded.map(|(record, count)| ([("record", record)], count.load(Ordering::Relaxed)));
            scrape.counters(UNRECORDED, "Credentials released before their audit record was written", unrecorded)?;
            let buffered = self.buffered.load(Ordering::Relaxed);
            scrape.gauge(BUFFERED, "Audit records of releases that wait for the log to work again", buffered)
        });
    }

    pub(super) fn snapshot(&self, queued: usize) -> AuditStatus {
        AuditStatus {
            queued,
            written: self.written.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            buffered: self.buffered.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            is_failing: self.is_failing.load(Ordering::Relaxed),
            releases: self.releases,
            is_below_reserve: self.is_below_reserve.load(Ordering::Relaxed),
        }
    }
}
