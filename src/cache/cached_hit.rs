//! A hit as later hits of the same lookup need it.

use std::sync::{Arc, Weak};

use super::entry::Entry;
use super::lookup::Found;
use crate::credential::CredentialKey;
use crate::moment::Moment;

/// The entry of a hit. It does not keep the credential in memory.
#[derive(Debug)]
pub(crate) struct CachedHit {
    key: CredentialKey,
    entry: Weak<Entry>,
}

/// Another hit of the same entry, which does not count yet.
#[derive(Debug)]
pub(crate) struct Repeat {
    pub(super) entry: Arc<Entry>,
    /// What the caller gets.
    pub(crate) found: Found,
    /// When it was found.
    pub(crate) at: Moment,
}

impl CachedHit {
    pub(super) fn new(key: CredentialKey, entry: &Arc<Entry>) -> Self {
        Self { key, entry: Arc::downgrade(entry) }
    }

    pub(super) fn key(&self) -> &CredentialKey {
        &self.key
    }

    /// Returns the entry, unless nothing else keeps it.
    pub(super) fn entry(&self) -> Option<Arc<Entry>> {
        self.entry.upgrade()
    }
}
