//! The way back: checks of each stored credential, and its return into the cache.

use std::sync::Arc;

use tracing::info;

use super::contents::{self, Stored};
use super::fingerprint::Fingerprints;
use super::metrics::Outcome;
use super::{DescriptorStore, Inner};
use crate::cache::{CredentialCache, KeptCredential, NotPutBack};
use crate::credential::{Credential, CredentialError};
use crate::moment::Moment;

impl DescriptorStore {
    /// Fills the cache from opened contents.
    pub(super) async fn restore(&self, contents: &[u8], cache: &CredentialCache) {
        let metrics = &self.0.metrics;
        let now = self.0.clock.now();
        let Some(contents) = contents::decode(contents) else {
            info!("descriptor store dropped: its contents cannot be read");
            return;
        };
        let is_same_aws = contents.aws == self.0.aws;
        let fingerprints = self.0.fingerprints();
        // The most used come first, and the cache evicts the first if it is smaller than before.
        for stored in contents.credentials.iter().rev() {
            let outcome = match Inner::check(stored, (is_same_aws, &fingerprints), now) {
                Ok(credential) => put_back(cache, stored, credential).await,
                Err(dropped) => dropped,
            };
            metrics.found(outcome, 1);
        }
        metrics.found(Outcome::Unreadable, contents.unreadable as u64);
        info!(
            restored = metrics.count_of(Outcome::Restored),
            expired = metrics.count_of(Outcome::Expired),
            profile_changed = metrics.count_of(Outcome::OtherProfile),
            configuration_changed = metrics.count_of(Outcome::OtherConfiguration),
            other_clock = metrics.count_of(Outcome::OtherClock),
            no_room = metrics.count_of(Outcome::NoRoom),
            unreadable = metrics.count_of(Outcome::Unreadable),
            "credentials restored from the descriptor store"
        );
    }
}

impl Inner {
    /// Returns the fingerprints of the configuration in effect.
    pub(super) fn fingerprints(&self) -> Fingerprints {
        Fingerprints::new(self.aws, self.profiles.set().iter())
    }

    /// Returns the credential if everything that it depends on is as it was.
    fn check(
        stored: &Stored<'_>,
        (is_same_aws, fingerprints): (bool, &Fingerprints),
        now: Moment,
    ) -> Result<Credential, Outcome> {
        if !is_same_aws {
            return Err(Outcome::OtherConfiguration);
        }
        if fingerprints.find(&stored.key.profile) != Some(stored.profile) {
            return Err(Outcome::OtherProfile);
        }
        // The monotonic clock of one boot never goes back.
        if stored.received.steady > now.steady {
            return Err(Outcome::OtherClock);
        }
        stored.credential().map_err(|error| match error {
            CredentialError::Expired => Outcome::Expired,
            _ => Outcome::Unreadable,
        })
    }
}

async fn put_back(cache: &CredentialCache, stored: &Stored<'_>, credential: Credential) -> Outcome {
    let (key, credential) = (stored.key.clone(), Arc::new(credential));
    let kept = KeptCredential { key, credential, refresh_at: stored.refresh_at, is_stale: stored.is_stale };
    match cache.put_back(kept).await {
        Ok(()) => Outcome::Restored,
        Err(NotPutBack::TooShort) => Outcome::Expired,
        Err(NotPutBack::NoRoom(_)) => Outcome::NoRoom,
    }
}
