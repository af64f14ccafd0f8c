//! Entry of the shared cache, as one fetch sees it.

use super::entry_key::{EntryKey, EntryName, EntryParts};
use super::tier::LeaseOwner;

/// The entry of one fetch, which can own the entry's lease.
#[derive(Debug)]
pub(super) struct Entry {
    parts: EntryParts,
    pub(super) name: EntryName,
    pub(super) owner: LeaseOwner,
}

impl Entry {
    pub(super) fn new(parts: EntryParts, name: EntryName) -> Self {
        Self { parts, name, owner: LeaseOwner::random() }
    }

    pub(super) fn key(&self) -> EntryKey<'_> {
        self.parts.key()
    }

    /// Returns the identity that mints, to compare its unique ID.
    pub(super) fn identity(&self) -> &str {
        &self.parts.identity
    }
}
