//! Progress of the fetches in flight, by key: where a caller finds the progress of the flight that it joins.

use super::by_key::{ByKey, Joined};
use super::lookup::Lookup;
use crate::source::FetchProgress;

/// Progress by key. A clone is another handle of the same map. A key without a task in [`super::singleflight`] has no entry.
#[derive(Debug, Clone, Default)]
pub(super) struct ProgressByKey(ByKey<FetchProgress>);

impl ProgressByKey {
    /// Joins the key's progress as one more requester.
    pub(super) fn join(&self, lookup: &Lookup) -> Joined<FetchProgress> {
        let joined = self.0.join(&lookup.key);
        joined.add_requester(lookup.requester().as_ref());
        joined
    }
}
