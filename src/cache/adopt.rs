//! Adoption of the updates that a source pushes.
//!
//! An update never adds a key: a credential that was evicted, dropped after a denial, or rejected by a registry does not come back
//! by a push. A pushed credential passes the checks of a fetched one (P3). A pushed failure has the effects of a failed refresh (P5,
//! P6), and postpones the next refresh: the source reports the end of the failure, too.
//!
//! A fetch may cache or drop the key's credential meanwhile. Then the update was about another one, and only a denial counts.

use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::CredentialCache;
use super::entry::Entry;
use super::fetch::revokes_credentials;
use super::shared::Shared;
use crate::credential::{Credential, CredentialKey};
use crate::error::BrokerError;
use crate::jitter;
use crate::source::SourceFuture;
use crate::source::push::{Adopted, Outcome, PushSink, Pushed};

/// Delay of the next refresh after a pushed failure. The end of the failure is pushed, too, so this counts only if the watch ends.
const FAILURE_DELAY: Duration = Duration::from_mins(5);
/// Delay of the next refresh after a confirmation: a source that confirms an old credential is about to refresh it.
const CONFIRMED_DELAY: Duration = Duration::from_mins(1);

impl CredentialCache {
    /// Takes an update of a key into the cache, and notifies the key's watches.
    pub async fn adopt(&self, key: &CredentialKey, pushed: Pushed) -> Adopted {
        let Some(entry) = self.shared.store.get(key).await else {
            return Adopted { outcome: Outcome::Absent, uses: 0 };
        };
        let outcome = match pushed {
            Pushed::Credential(new) if new.id() != entry.credential.id() => self.shared.replace(key, &entry, new).await,
            Pushed::Unchanged(id) if id != entry.credential.id() => Outcome::Ignored,
            Pushed::Credential(_) | Pushed::Unchanged(_) => self.shared.confirm(key, &entry).await,
            Pushed::Failed(error) => self.shared.fail(key, &entry, error).await,
        };
        if outcome != Outcome::Ignored {
            self.shared.subscriptions.notify(key);
        }
        Adopted { outcome, uses: entry.uses.total() }
    }
}

impl PushSink for CredentialCache {
    fn adopt<'a>(&'a self, key: &'a CredentialKey, pushed: Pushed) -> SourceFuture<'a, Adopted> {
        Box::pin(self.adopt(key, pushed))
    }
}

impl Shared {
    /// Replaces the cached credential by one that lasts longer and that no registry has rejected.
    async fn replace(&self, key: &CredentialKey, entry: &Arc<Entry>, credential: Credential) -> Outcome {
        let remaining = credential.remaining(self.now());
        let lasts_longer = remaining > entry.credential.remaining(self.now());
        if remaining < self.settings.safety_margin || !lasts_longer || entry.rejected() == Some(credential.id()) {
            return Outcome::Ignored;
        }
        let (id, expires) = (credential.id(), credential.expires());
        let new = Entry::new(credential, self.settings.refresh_after, entry.uses.carried());
        if !self.store.swap(key, entry, new.after_rejection(entry.rejected())).await {
            return Outcome::Ignored;
        }
        info!(
            registry = key.registry.host(),
            region = key.registry.region().map(tracing::field::display),
            profile = %key.profile,
            credential_id = %id,
            expires = %humantime::format_rfc3339_millis(expires),
            "pushed credential cached"
        );
        self.backoff.record_success(key).await;
        Outcome::Replaced
    }

    /// Ends the failure of the last refresh, and postpones a refresh that is due.
    async fn confirm(&self, key: &CredentialKey, entry: &Arc<Entry>) -> Outcome {
        let now = self.now();
        if entry.is_stale() || entry.due_in(now) < CONFIRMED_DELAY {
            let confirmed = entry.postponed(now, jitter::at_least(CONFIRMED_DELAY, 1.0), false);
            if !self.store.swap(key, entry, confirmed).await {
                return Outcome::Ignored;
            }
        }
        self.backoff.record_success(key).await;
        Outcome::Confirmed
    }

    /// Drops the cached credential after a denial, and else marks it as STALE.
    async fn fail(&self, key: &CredentialKey, entry: &Arc<Entry>, error: BrokerError) -> Outcome {
        let BrokerError::Upstream(_) = &error else { return Outcome::Ignored };
        let outcome = if revokes_credentials(&error) {
            // Also a credential that a fetch has cached meanwhile: the parent may have answered it before the denial.
            self.store.invalidate(key).await;
            Outcome::Dropped
        } else {
            let stale = entry.postponed(self.now(), jitter::around(FAILURE_DELAY), true);
            if !self.store.swap(key, entry, stale).await {
                return Outcome::Ignored;
            }
            Outcome::Stale
        };
        self.metrics.refresh_failed(&error);
        self.backoff.record_failure(key, error, self.now()).await;
        outcome
    }
}
