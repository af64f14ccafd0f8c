//! The rejections of one kind and subject that have no record each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{field, info};

use super::subject::Subject;
use crate::audit::{AuditLog, Count, Outcome, Proof};

/// Counts for one log line and one audit record.
#[derive(Debug)]
pub(super) struct Summary {
    /// Who was rejected; `None`: others, too many to remember.
    pub(super) subject: Option<Subject>,
    /// The group of such others, if they are callers.
    pub(super) callers: Option<String>,
    /// The reason in the log line.
    pub(super) reason: &'static str,
    /// The outcome in the audit record; `None`: none is due.
    pub(super) outcome: Option<Outcome>,
    pub(super) failed_proof: Option<(Proof, &'static str)>,
    pub(super) unlogged: u64,
    pub(super) unaudited: Arc<AtomicU64>,
}

impl Summary {
    pub(super) fn is_empty(&self) -> bool {
        self.unlogged == 0 && self.unaudited.load(Ordering::Relaxed) == 0
    }

    /// Writes the log line, if there is something to tell.
    pub(super) fn log(&self) {
        if self.unlogged == 0 {
            return;
        }
        info!(
            caller = self.caller(),
            callers = self.callers,
            origin = self.origin(),
            reason = self.reason,
            proof = self.failed_proof.map(|(proof, _)| field::debug(proof)),
            error = self.failed_proof.map(|(_, reason)| reason),
            count = self.unlogged,
            "rejections counted"
        );
    }

    /// Writes the audit record, if one is due. Returns whether the log could take it; else the count is kept.
    pub(super) async fn audit(&self, audit: &AuditLog) -> bool {
        let Some(outcome) = self.outcome else { return true };
        let count = self.unaudited.swap(0, Ordering::Relaxed);
        if count == 0 {
            return true;
        }
        let (proof, reason) = self.failed_proof.unzip();
        let callers = self.callers.clone();
        let record = Count { outcome, caller: self.caller(), callers, origin: self.origin(), proof, reason, count };
        audit.queue_count(&record, &self.unaudited).written().await
    }

    fn caller(&self) -> Option<String> {
        self.subject.as_ref().and_then(Subject::caller)
    }

    fn origin(&self) -> Option<String> {
        self.subject.as_ref().and_then(Subject::origin)
    }
}
