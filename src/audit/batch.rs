//! Records of releases that are written together: those of one connection, once per poll.

use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};

use super::writer::{About, Entry};
use super::{AuditLog, Queued};
use crate::caller::Caller;
use crate::sync::lock;

/// Records that wait for the next [`AuditBatch::commit`]. A clone is a handle of the same batch.
#[derive(Debug, Clone)]
pub(crate) struct AuditBatch {
    log: AuditLog,
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl AuditBatch {
    pub(super) fn new(log: AuditLog) -> Self {
        Self { log, entries: Arc::default() }
    }

    /// Adds the line of a release to a caller, with its newline. The release must wait for the result.
    pub(crate) fn add(&self, line: Vec<u8>, caller: Caller) -> Queued {
        let (written, outcome) = oneshot::channel();
        lock(&self.entries).push(Entry { line, written, about: About::Release(caller) });
        Queued(Some(outcome))
    }

    /// Writes the added lines.
    pub(crate) fn commit(&self) {
        for entry in std::mem::take(&mut *lock(&self.entries)) {
            if let Err(mpsc::error::TrySendError::Full(entry) | mpsc::error::TrySendError::Closed(entry)) =
                self.log.queue.try_send(entry)
            {
                entry.finish(false);
            }
        }
    }
}
