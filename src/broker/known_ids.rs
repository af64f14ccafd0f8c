//! Credentials that a watcher already has.

use std::sync::Arc;

use crate::credential::CredentialId;

/// IDs in their order: 16 bytes each, in one allocation that the registries of a watch share.
#[derive(Debug, Clone, Default)]
pub struct KnownIds(Option<Arc<[CredentialId]>>);

impl KnownIds {
    /// Returns whether the watcher has a credential.
    #[must_use]
    pub fn contains(&self, id: CredentialId) -> bool {
        self.0.as_ref().is_some_and(|ids| ids.binary_search(&id).is_ok())
    }

    /// Returns the memory that the IDs take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |ids| std::mem::size_of_val::<[CredentialId]>(ids))
    }
}

impl FromIterator<CredentialId> for KnownIds {
    fn from_iter<I: IntoIterator<Item = CredentialId>>(ids: I) -> Self {
        let mut ids: Vec<_> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        Self((!ids.is_empty()).then(|| ids.into()))
    }
}
