//! Tier in memory, for tests: the rules of Valkey's, on tokio's clock, which tests pause.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::entry_key::EntryName;
use super::tier::{LEASE_TTL, LeaseOwner, Tier, TierAnswer, TierError, etag};
use crate::source::SourceFuture;
use crate::sync::lock;

/// Entries in the memory of one process.
#[derive(Debug, Default)]
pub struct MemoryTier(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    values: HashMap<EntryName, (Vec<u8>, Instant)>,
    leases: HashMap<EntryName, (Lease, Instant)>,
    outage: Option<TierError>,
}

#[derive(Debug)]
enum Lease {
    Owned(LeaseOwner),
    Failed(Vec<u8>),
}

impl MemoryTier {
    /// Fails every operation with `error`, or none any more.
    pub fn set_outage(&self, error: Option<TierError>) {
        lock(&self.0).outage = error;
    }

    /// Returns the stored value of each entry, as a reader of the tier sees it.
    #[must_use]
    pub fn values(&self) -> Vec<(EntryName, Vec<u8>)> {
        let mut state = lock(&self.0);
        state.expire();
        state.values.iter().map(|(entry, (value, _))| (entry.clone(), value.clone())).collect()
    }

    /// Replaces the value of an entry for an hour, without a lease, as an attacker with access to the tier can.
    pub fn overwrite(&self, entry: &EntryName, value: &[u8]) {
        let until = Instant::now() + Duration::from_hours(1);
        lock(&self.0).values.insert(entry.clone(), (value.to_vec(), until));
    }

    fn with<T>(&self, operation: impl FnOnce(&mut State) -> T) -> Result<T, TierError> {
        let mut state = lock(&self.0);
        state.expire();
        state.outage.map_or_else(|| Ok(operation(&mut state)), Err)
    }
}

impl State {
    fn expire(&mut self) {
        let now = Instant::now();
        self.values.retain(|_, (_, until)| *until > now);
        self.leases.retain(|_, (_, until)| *until > now);
    }

    fn get_or_lease(&mut self, entry: &EntryName, owner: &LeaseOwner, known: Option<&[u8]>) -> TierAnswer {
        if let Some((value, until)) = self.values.get(entry)
            && (known.is_none() || etag(value) != known)
        {
            return TierAnswer::Value { sealed: value.clone(), ttl: Some(left(*until)) };
        }
        match self.leases.get(entry) {
            Some((Lease::Owned(_), until)) => TierAnswer::Held { for_: Some(left(*until)) },
            Some((Lease::Failed(note), until)) => TierAnswer::Failed { note: note.clone(), for_: Some(left(*until)) },
            None => {
                self.lease(entry, Lease::Owned(owner.clone()), LEASE_TTL);
                TierAnswer::Leased
            }
        }
    }

    fn lease(&mut self, entry: &EntryName, lease: Lease, ttl: Duration) {
        self.leases.insert(entry.clone(), (lease, Instant::now() + ttl));
    }

    fn owns(&self, entry: &EntryName, owner: &LeaseOwner) -> bool {
        matches!(self.leases.get(entry), Some((Lease::Owned(of), _)) if of == owner)
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

impl Tier for MemoryTier {
    fn get_or_lease<'a>(
        &'a self,
        entry: &'a EntryName,
        owner: &'a LeaseOwner,
        known: Option<&'a [u8]>,
    ) -> SourceFuture<'a, Result<TierAnswer, TierError>> {
        Box::pin(async move { self.with(|state| state.get_or_lease(entry, owner, known)) })
    }

    fn renew<'a>(&'a self, entry: &'a EntryName, owner: &'a LeaseOwner) -> SourceFuture<'a, Result<bool, TierError>> {
        Box::pin(async move {
            self.with(|state| {
                let owns = state.owns(entry, owner);
                if owns {
                    state.lease(entry, Lease::Owned(owner.clone()), LEASE_TTL);
                }
                owns
            })
        })
    }

    fn put<'a>(
        &'a self,
        entry: &'a EntryName,
        owner: &'a LeaseOwner,
        value: &'a [u8],
        ttl: Duration,
    ) -> SourceFuture<'a, Result<bool, TierError>> {
        Box::pin(async move {
            self.with(|state| {
                let owns = state.owns(entry, owner);
                if owns {
                    state.values.insert(entry.clone(), (value.to_vec(), Instant::now() + ttl));
                    state.leases.remove(entry);
                }
                owns
            })
        })
    }

    fn fail<'a>(
        &'a self,
        entry: &'a EntryName,
        owner: &'a LeaseOwner,
        note: &'a [u8],
        ttl: Duration,
    ) -> SourceFuture<'a, Result<bool, TierError>> {
        Box::pin(async move {
            self.with(|state| {
                let owns = state.owns(entry, owner);
                if owns {
                    state.lease(entry, Lease::Failed(note.to_vec()), ttl);
                }
                owns
            })
        })
    }

    fn release<'a>(&'a self, entry: &'a EntryName, owner: &'a LeaseOwner) -> SourceFuture<'a, Result<(), TierError>> {
        Box::pin(async move {
            self.with(|state| {
                if state.owns(entry, owner) {
                    state.leases.remove(entry);
                }
            })
        })
    }

    fn invalidate<'a>(
        &'a self,
        entry: &'a EntryName,
        known: Option<&'a [u8]>,
    ) -> SourceFuture<'a, Result<(), TierError>> {
        Box::pin(async move {
            self.with(|state| {
                let stored = state.values.get(entry).and_then(|(value, _)| etag(value));
                if known.is_none() || stored == known {
                    state.values.remove(entry);
                    state.leases.remove(entry);
                }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &[u8] = b"EB1\x01key.nonce-of-12-sealed";

    fn entry() -> EntryName {
        EntryName::of_hash([7; 16])
    }

    #[tokio::test(start_paused = true)]
    async fn value_is_stored_only_by_the_owner_of_the_lease() {
        let (tier, entry) = (MemoryTier::default(), entry());
        let (first, second) = (LeaseOwner::random(), LeaseOwner::random());
        assert_eq!(tier.get_or_lease(&entry, &first, None).await, Ok(TierAnswer::Leased));
        let held = Ok(TierAnswer::Held { for_: Some(LEASE_TTL) });
        assert_eq!(tier.get_or_lease(&entry, &second, None).await, held);
        assert_eq!(tier.put(&entry, &second, b"x", LEASE_TTL).await, Ok(false));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(tier.renew(&entry, &first).await, Ok(true));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(tier.put(&entry, &first, VALUE, LEASE_TTL).await, Ok(true));
        assert_eq!(tier.put(&entry, &first, VALUE, LEASE_TTL).await, Ok(false), "the lease has ended");

        let value = || Ok(TierAnswer::Value { sealed: VALUE.to_vec(), ttl: Some(LEASE_TTL) });
        assert_eq!(tier.get_or_lease(&entry, &second, None).await, value());
        assert_eq!(tier.get_or_lease(&entry, &second, Some(b"another")).await, value());
        assert_eq!(tier.get_or_lease(&entry, &second, etag(VALUE)).await, Ok(TierAnswer::Leased));
        tokio::time::advance(LEASE_TTL).await;
        assert_eq!(tier.get_or_lease(&entry, &first, None).await, Ok(TierAnswer::Leased), "both have expired");
        assert_eq!(tier.renew(&entry, &second).await, Ok(false));
    }

    #[tokio::test(start_paused = true)]
    async fn note_ends_and_an_invalidation_ends_the_lease() {
        let (tier, entry, owner) = (MemoryTier::default(), entry(), LeaseOwner::random());
        let lease = || tier.get_or_lease(&entry, &owner, None);
        assert_eq!(lease().await, Ok(TierAnswer::Leased));
        assert_eq!(tier.fail(&entry, &owner, b"note", Duration::from_secs(1)).await, Ok(true));
        let failed = TierAnswer::Failed { note: b"note".to_vec(), for_: Some(Duration::from_secs(1)) };
        assert_eq!(lease().await, Ok(failed));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(lease().await, Ok(TierAnswer::Leased));
        assert_eq!(tier.invalidate(&entry, None).await, Ok(()));
        assert_eq!(tier.put(&entry, &owner, VALUE, LEASE_TTL).await, Ok(false));
        tier.overwrite(&entry, VALUE);
        assert_eq!(tier.invalidate(&entry, Some(b"another")).await, Ok(()));
        assert_eq!(tier.values(), [(entry.clone(), VALUE.to_vec())]);
        assert_eq!(tier.invalidate(&entry, etag(VALUE)).await, Ok(()));
        assert_eq!(lease().await, Ok(TierAnswer::Leased));
        assert_eq!(tier.release(&entry, &owner).await, Ok(()));
        assert_eq!(lease().await, Ok(TierAnswer::Leased));
        tier.set_outage(Some(TierError::Unavailable));
        assert_eq!(lease().await, Err(TierError::Unavailable));
    }

    #[test]
    fn etag_is_the_nonce_of_the_envelope() {
        assert_eq!(etag(VALUE), Some(&b"nonce-of-12-"[..]));
        assert_eq!(etag(b"EB1\x01keys123"), Some(&b"123"[..]));
        assert_eq!((etag(b"EB1\x01keys"), etag(b"")), (None, None));
    }
}
