//! State of the audit log, for the status.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The state of the audit log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditStatus {
    /// Records that wait to be written.
    pub queued: usize,
    /// Written records.
    pub written: u64,
    /// Records that could not be written.
    pub failed: u64,
    /// Whether the last write failed, so that nothing is released.
    pub is_failing: bool,
    /// Whether so little space is free that denials are only counted.
    pub is_below_reserve: bool,
}

/// What the writing thread reports.
#[derive(Debug, Default)]
pub(super) struct WriterStatus {
    pub(super) written: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) is_failing: AtomicBool,
    pub(super) is_below_reserve: AtomicBool,
}

impl WriterStatus {
    pub(super) fn record(&self, records: usize, is_written: bool) {
        let counter = if is_written { &self.written } else { &self.failed };
        counter.fetch_add(records.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
        self.is_failing.store(!is_written, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self, queued: usize) -> AuditStatus {
        AuditStatus {
            queued,
            written: self.written.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            is_failing: self.is_failing.load(Ordering::Relaxed),
            is_below_reserve: self.is_below_reserve.load(Ordering::Relaxed),
        }
    }
}
