//! Shared cache: credentials that several brokers share, sealed by keys that only the brokers have.
//!
//! [`SharedCache`] is a layer over the source that calls AWS, above admission control: brokers that wait for another one's fetch take no
//! place in a queue. A parent broker is a source beside it, not below it: a parent has shared its credentials already, and what it
//! returns may depend on the child's certificate and on the caller, which no [`EntryKeys`] of AWS knows.
//!
//! - **A fetch** takes the entry's value, or its lease, or waits for the broker that has the lease. The lease's owner calls the source,
//!   renews the lease meanwhile, and stores the credential or, after throttling and outages, a short note of the failure.
//! - **A value that cannot be used** is not waited for: the next question names its `ETag`, so that one broker of the fleet gets the lease
//!   and replaces it.
//! - **A refresh** takes a newer credential of another broker. If another one has the lease, the refresh waits, and the cache serves.
//! - **A failure of the tier** fails no fetch: the source is called as if there were no tier.
//!
//! An entry depends on the whole chain of a profile's roles, but not on the identity that assumes the first one: the session of the
//! last role has the same permissions, whatever assumed it. All brokers with the keys file trust each other in this.

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use self::entry::Entry;
use self::entry_key::EntryKeys;
use self::key_ring::KeyRing;
use self::lease::{Lease, is_denial};
use self::metrics::Outcome;
use self::note::Note;
use self::search::{Search, Turn};
use self::tier::Tier;
use self::values::Values;
use super::span::record_failure;
use super::{CredentialSource, FetchError, FetchRequest, RegionStatus, SourceFuture, SourceIdentity};
use crate::clock::Clock;
use crate::credential::{Credential, CredentialKey};
use crate::error::UpstreamError;

mod entry;
pub mod entry_key;
pub mod envelope;
mod fault;
pub mod key_file;
pub mod key_ring;
pub mod keys;
mod lease;
pub mod memory;
mod metrics;
mod note;
mod plaintext;
mod search;
pub mod tier;
pub mod valkey;
mod values;

pub use self::metrics::Metrics;

/// Time that the tier's operations may add to a fetch: a question and a store that both run into their timeouts, and room.
const OPERATION_TIME: Duration = Duration::from_secs(1);

/// A layer that shares the credentials of a source with other brokers.
#[derive(Debug)]
pub struct SharedCache<S> {
    source: S,
    tier: Arc<dyn Tier>,
    keys: Arc<KeyRing>,
    entry_keys: Arc<dyn EntryKeys>,
    values: Values,
    metrics: Metrics,
}

impl<S: CredentialSource> SharedCache<S> {
    /// Wraps `source`, on whose answers `identity` tells what they depend.
    #[must_use]
    pub fn new(
        source: S,
        tier: Arc<dyn Tier>,
        keys: Arc<KeyRing>,
        identity: Arc<dyn EntryKeys>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        let values = Values::new(Arc::clone(&keys), clock, metrics.clone());
        Self { source, tier, keys, entry_keys: identity, values, metrics }
    }

    async fn fetch_shared(&self, request: &FetchRequest) -> Result<Credential, FetchError> {
        let Some(entry) = self.entry(&request.key) else { return self.source.fetch(request).await };
        let search = Search { tier: &*self.tier, values: &self.values, entry: &entry, request };
        match search.run().await {
            Turn::Found(credential) => {
                self.metrics.count(Outcome::Found);
                Ok(*credential)
            }
            Turn::Leased => self.fill(request, &entry).await,
            Turn::PeerFailed(note) => {
                self.metrics.count(Outcome::PeerFailed);
                Err(self.failure_of_peer(note).into())
            }
            Turn::Alone => {
                self.metrics.count(Outcome::Alone);
                self.fetch_alone(request, &entry).await
            }
        }
    }

    /// Calls the source as the owner of the entry's lease, and shares the result.
    async fn fill(&self, request: &FetchRequest, entry: &Entry) -> Result<Credential, FetchError> {
        let lease = Lease { tier: &*self.tier, entry };
        let result = lease.hold(self.source.fetch(request)).await;
        let is_stored = match &result {
            Ok(credential) if request.rejected != Some(credential.id()) => {
                lease.store(self.values.seal(entry, credential)).await
            }
            Ok(_) => lease.release().await,
            Err(failure) => {
                if is_denial(failure) {
                    self.values.deny(entry);
                }
                lease.fail(failure).await
            }
        };
        self.metrics.count(match (&result, is_stored) {
            (Err(_), _) => Outcome::Failed,
            (Ok(_), true) => Outcome::Stored,
            (Ok(_), false) => Outcome::NotStored,
        });
        result
    }

    /// Calls the source without the entry's lease. Only a denial concerns the entry: its value must not be used any more.
    async fn fetch_alone(&self, request: &FetchRequest, entry: &Entry) -> Result<Credential, FetchError> {
        let result = self.source.fetch(request).await;
        if result.as_ref().is_err_and(is_denial) {
            self.values.deny(entry);
            Lease { tier: &*self.tier, entry }.deny().await;
        }
        result
    }

    /// Returns the entry of a key; `None`: its answer is not shared. The tier would keep a token of a short lifetime for no time, or for
    /// less than until the other brokers refresh it.
    fn entry(&self, key: &CredentialKey) -> Option<Entry> {
        if key.lifetime.is_some_and(|lifetime| lifetime.duration() / 2 <= values::MIN_REMAINING) {
            return None;
        }
        let parts = self.entry_keys.parts(key)?;
        let name = self.keys.current().name_of(&parts.key());
        Some(Entry::new(parts, name))
    }

    fn failure_of_peer(&self, note: Note) -> UpstreamError {
        debug!(class = ?note.class(), "fetch of another broker failed");
        record_failure(note.class());
        let failure = UpstreamError::new(self.source.identity().name().clone(), note.class());
        UpstreamError { retry_after: note.retry_after(), ..failure }
    }
}

impl<S: CredentialSource> CredentialSource for SharedCache<S> {
    fn identity(&self) -> &dyn SourceIdentity {
        self.source.identity()
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        Box::pin(self.fetch_shared(request))
    }

    fn regions(&self) -> Vec<RegionStatus> {
        self.source.regions()
    }

    fn fetch_budget(&self) -> Duration {
        OPERATION_TIME + self.source.fetch_budget()
    }
}
