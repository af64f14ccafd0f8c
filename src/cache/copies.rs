//! Copies of the cached credentials, which outlive the process, and their way back.

use std::sync::Arc;

use super::CredentialCache;
use super::entry::Entry;
use super::kept::{KeptCredential, NotPutBack};
use crate::credential::CredentialKey;

impl CredentialCache {
    /// Returns the credentials that may be returned to callers, those with the most hits first.
    #[must_use]
    pub fn kept(&self) -> Vec<KeptCredential> {
        let (now, margin) = (self.shared.now(), self.shared.settings.safety_margin);
        let is_retired = |key: &CredentialKey| self.shared.store.is_retired(key);
        let usable = self.shared.store.iter().filter(|(key, _)| !is_retired(key));
        let usable = usable.filter(|(_, entry)| entry.check(margin, None, now).is_ok());
        let mut kept: Vec<_> = usable.map(|(key, entry)| (entry.uses.hits(), entry.kept(&key))).collect();
        kept.sort_by_key(|(hits, _)| std::cmp::Reverse(*hits));
        kept.into_iter().map(|(_, kept)| kept).collect()
    }

    /// Caches a credential that an earlier process fetched.
    ///
    /// # Errors
    /// It ends too soon (P3), or has no room.
    pub async fn put_back(&self, kept: KeptCredential) -> Result<(), NotPutBack> {
        if kept.credential.remaining(self.shared.now()) < self.shared.settings.safety_margin {
            return Err(NotPutBack::TooShort);
        }
        self.shared.store.check_room(&kept.key).map_err(NotPutBack::NoRoom)?;
        let key = kept.key.clone();
        self.shared.store.insert(key, Arc::new(Entry::from(kept))).await;
        Ok(())
    }

    /// Waits until a credential was cached or left the cache since the last call. For one task.
    pub async fn changed(&self) {
        self.shared.store.changes.notified().await;
    }
}
