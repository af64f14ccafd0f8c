//! Credentials of profiles that a reload has replaced.
//!
//! Their keys name the replaced definition, so no later request finds them. They leave the cache at once all the same: a secret that
//! serves no request must not stay in memory. What a fetch in flight brings after that goes to its own callers only.

use super::CredentialCache;
use crate::credential::CredentialKey;
use crate::profile::ActiveProfiles;

impl CredentialCache {
    /// Tells which profiles are in effect. Once, before the first reload.
    pub fn follow_profiles(&self, profiles: ActiveProfiles) {
        _ = self.shared.store.profiles.set(profiles);
    }

    /// Drops the credentials and failures of profiles that are no longer in effect, and notifies their watches. Returns the number of
    /// credentials.
    pub async fn drop_retired(&self) -> usize {
        let store = &self.shared.store;
        let retired: Vec<_> = store.iter().map(|(key, _)| key).filter(|key| store.is_retired(key)).collect();
        for key in &retired {
            store.invalidate(key).await;
        }
        store.sweep().await;
        self.shared.backoff.forget(|key| store.is_retired(key)).await;
        self.shared.subscriptions.notify_each(|key| store.is_retired(key));
        retired.len()
    }
}

impl super::store::Store {
    /// Returns whether a key names a profile that is no longer in effect.
    pub(super) fn is_retired(&self, key: &CredentialKey) -> bool {
        self.profiles.get().is_some_and(|profiles| profiles.is_retired(key))
    }
}
