//! What earlier writes of a Secret have shown.

use std::collections::BTreeSet;

/// What earlier writes of a Secret have shown.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// IDs of superseded credentials that this sync has replaced. One that returns is that of a sync whose broker has not replaced it,
    /// and stays: otherwise the two would replace each other's without end.
    replaced: BTreeSet<String>,
}

impl Memory {
    pub(super) fn has_replaced(&self, id: &str) -> bool {
        self.replaced.contains(id)
    }

    /// Notes a write that replaced these. Forgets those that are no longer superseded.
    pub(super) fn note_replaced(&mut self, ids: Vec<String>, is_superseded: impl Fn(&str) -> bool) {
        self.replaced.extend(ids);
        self.replaced.retain(|id| is_superseded(id));
    }
}
