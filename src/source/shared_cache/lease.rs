//! Lease of an entry: its owner calls the source for the fleet, and shares the result.
//!
//! A fetch that is abandoned, or whose broker dies, renews its lease no more. The lease ends within [`LEASE_TTL`](super::tier::LEASE_TTL),
//! and another broker has it. No credential is stored without a lease.

use std::time::Duration;

use tokio::time::sleep;
use tracing::debug;

use super::entry::Entry;
use super::note::Note;
use super::tier::Tier;
use super::values::SealedValue;
use crate::error::UpstreamError;
use crate::source::FetchError;

/// Time between two renewals.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// The lease that the fetch of `entry` owns.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    pub(super) tier: &'a dyn Tier,
    pub(super) entry: &'a Entry,
}

impl Lease<'_> {
    /// Renews the lease until the fetch ends.
    pub(super) async fn hold<T>(&self, fetch: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            result = fetch => result,
            never = self.renew() => never,
        }
    }

    /// Renews the lease for as long as it is owned. Never returns: after a lost lease the fetch goes on.
    async fn renew<T>(&self) -> T {
        loop {
            sleep(RENEW_EVERY).await;
            if self.tier.renew(&self.entry.name, &self.entry.owner).await == Ok(false) {
                debug!(entry = %self.entry.name, "lease lost");
                return std::future::pending().await;
            }
        }
    }

    /// Stores a value, or ends the lease if there is none to store. Returns whether the value is stored.
    pub(super) async fn store(&self, sealed: Option<SealedValue>) -> bool {
        let Some(SealedValue { value, ttl }) = sealed else { return self.release().await };
        let stored = self.tier.put(&self.entry.name, &self.entry.owner, &value, ttl).await;
        stored.unwrap_or_default()
    }

    /// Ends the lease without a value. Returns that none is stored.
    pub(super) async fn release(&self) -> bool {
        _ = self.tier.release(&self.entry.name, &self.entry.owner).await;
        false
    }

    /// Ends the lease after a failure. Throttling and outages are noted for the others. A denial deletes the value, so that no broker
    /// uses a credential that outlives the permission (P5). Returns that no value is stored.
    pub(super) async fn fail(&self, failure: &FetchError) -> bool {
        let (name, owner) = (&self.entry.name, &self.entry.owner);
        match (Note::of(failure), failure) {
            (Some(note), _) => _ = self.tier.fail(name, owner, note.to_text().as_bytes(), note.ttl()).await,
            (None, failure) if is_denial(failure) => self.deny().await,
            (None, _) => _ = self.release().await,
        }
        false
    }

    /// Deletes the value, whichever broker has the lease.
    pub(super) async fn deny(&self) {
        _ = self.tier.invalidate(&self.entry.name, None).await;
    }
}

/// Returns whether no broker may use the entry's credential any more.
pub(super) fn is_denial(failure: &FetchError) -> bool {
    matches!(failure, FetchError::Upstream(UpstreamError { class, .. }) if class.revokes_credentials())
}
