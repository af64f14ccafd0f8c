//! Records about requests and peers that got nothing: log lines and audit records, at a bounded rate.
//!
//! A rejection costs its caller nothing, so a flood of them must not fill disks. The first ones of each kind from each caller or origin
//! are recorded one by one. The others are counted, and [`RejectionRecorder::flush`] writes the counts. Each issuer and trust domain,
//! the users of this host and the peers without a proof have separate memories: none can make the denials of a caller of another
//! disappear in a sum.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::Serialize;

use self::memory::Memories;
use self::metrics::Metrics;
use self::summary::Summary;
use crate::audit::{AuditLog, Queued};
use crate::clock::Clock;
use crate::metrics::Registry;

mod kind;
mod memory;
mod metrics;
mod subject;
mod summary;

pub(crate) use self::kind::Kind;
pub use self::memory::FLUSH_INTERVAL;
pub(crate) use self::subject::Subject;

/// Records rejections. A clone is a handle of the same counts.
#[derive(Debug, Clone)]
pub struct RejectionRecorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Arc<dyn Clock>,
    audit: Option<AuditLog>,
    memories: Memories,
    metrics: Metrics,
}

/// The right to record one rejection.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Rejections of this kind and subject that have no audit record.
    unaudited: Arc<AtomicU64>,
}

impl RejectionRecorder {
    /// Returns a recorder that writes `per_second` records of each kind about one caller.
    #[must_use]
    pub fn new(
        per_second: NonZeroU32,
        audit: Option<AuditLog>,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Self {
        let (memories, metrics) = (Memories::new(per_second), Metrics::new(registry));
        Self(Arc::new(Inner { clock, audit, memories, metrics }))
    }

    /// Returns the audit log that receives the records.
    pub(crate) fn audit_log(&self) -> Option<&AuditLog> {
        self.0.audit.as_ref()
    }

    /// Counts a rejection, or returns the right to record it.
    pub(crate) fn admit(&self, subject: Subject, kind: Kind) -> Option<Admitted> {
        self.0.metrics.count(kind);
        let unaudited = self.0.memories.admit(subject, kind, self.0.clock.now().steady)?;
        Some(Admitted { unaudited })
    }

    /// Queues the audit record of a rejection, if there is an audit log.
    pub(crate) fn queue(&self, admitted: &Admitted, record: &impl Serialize) -> Option<Queued> {
        self.audit_log().map(|audit| audit.queue_rejection(record, &admitted.unaudited))
    }

    /// Writes everything that is left, at the shutdown.
    pub async fn finish(&self) {
        self.flush().await;
        if let Some(audit) = self.audit_log() {
            audit.settle().await;
        }
    }

    /// Writes the counts since the last flush: a log line and an audit record for each kind and subject. Counts that the audit log
    /// cannot take are kept for the next flush.
    pub async fn flush(&self) {
        let summaries = self.0.memories.take();
        summaries.iter().for_each(Summary::log);
        let Some(audit) = self.audit_log() else { return };
        for summary in &summaries {
            if !summary.audit(audit).await {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests;
