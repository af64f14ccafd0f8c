//! Progress of the fetches in flight, by key: where a caller finds the progress of the flight that it joins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::lookup::Lookup;
use crate::credential::CredentialKey;
use crate::source::FetchProgress;
use crate::sync::lock;

/// Progress by key. A clone is another handle of the same map. A key without a task in [`super::singleflight`] has no entry.
#[derive(Debug, Clone, Default)]
pub(super) struct ProgressByKey(Arc<Mutex<HashMap<CredentialKey, Shared>>>);

/// The progress of one key, and the number of its handles.
#[derive(Debug, Default)]
struct Shared {
    progress: FetchProgress,
    handles: usize,
}

/// A task's handle of its key's progress. Dropping the last one removes the key.
#[derive(Debug)]
pub(super) struct JoinedProgress {
    key: CredentialKey,
    progress: FetchProgress,
    by_key: ProgressByKey,
}

impl ProgressByKey {
    /// Joins the key's progress as one more requester.
    pub(super) fn join(&self, lookup: &Lookup) -> JoinedProgress {
        let key = lookup.key.clone();
        let progress = {
            let mut by_key = lock(&self.0);
            let shared = by_key.entry(key.clone()).or_default();
            shared.handles += 1;
            shared.progress.clone()
        };
        progress.add_requester(lookup.requester().as_ref());
        JoinedProgress { key, progress, by_key: self.clone() }
    }
}

impl JoinedProgress {
    /// Returns the progress.
    pub(super) fn progress(&self) -> &FetchProgress {
        &self.progress
    }
}

impl Drop for JoinedProgress {
    fn drop(&mut self) {
        let mut by_key = lock(&self.by_key.0);
        if let Some(shared) = by_key.get_mut(&self.key) {
            shared.handles -= 1;
            if shared.handles == 0 {
                by_key.remove(&self.key);
            }
        }
    }
}
