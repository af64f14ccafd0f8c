//! Peers that misbehave, in the log.

use tracing::info;

use crate::limits::Origin;
use crate::rejections::{Kind, RejectionRecorder, Subject};

/// Logs the problem of a peer that stalled its connection or speaks another protocol, or counts it: peers decide how often that happens.
pub(super) fn record(rejections: &RejectionRecorder, problem: &'static str, origin: Origin) {
    if rejections.admit(Subject::Origin(origin), Kind::Misbehaved(problem)).is_some() {
        info!(problem, ?origin, "connection closed: peer misbehaved");
    }
}
