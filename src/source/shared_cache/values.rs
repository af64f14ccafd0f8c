//! Values: seals credentials, and judges those of other brokers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use moka::sync::Cache;
use tracing::warn;

use super::entry::Entry;
use super::entry_key::EntryName;
use super::fault::Fault;
use super::key_ring::KeyRing;
use super::metrics::Metrics;
use super::plaintext::Plaintext;
use super::tier::MAX_VALUE_BYTES;
use crate::clock::Clock;
use crate::credential::{Credential, CredentialError, Minter};
use crate::log_throttle::LogThrottle;
use crate::moment::Moment;
use crate::source::FetchRequest;

#[cfg(test)]
mod tests;

/// Validity at which the tier drops a value: a broker that found it would have to refresh it at once.
pub(super) const MIN_REMAINING: Duration = Duration::from_mins(15);
/// Time by which another broker's clock may be ahead. AWS accepts no signature of a clock that is further off.
const MAX_CLOCK_AHEAD: Duration = Duration::from_mins(5);
/// Maximum number of identities whose unique ID is remembered.
const MAX_MINTERS: u64 = 2_000;
/// Maximum number of entries whose denial is remembered, and the time for it: longer than a credential lasts.
const MAX_DENIED: u64 = 10_000;
const DENIED_FOR: Duration = Duration::from_hours(13);

/// Seals and opens values.
#[derive(Debug)]
pub(super) struct Values {
    keys: Arc<KeyRing>,
    clock: Arc<dyn Clock>,
    /// The identity that minted this broker's own last credential of an entry's identity.
    minters: Cache<Box<str>, Minter>,
    /// The time of the last denial of an entry's credential. The tier may not have learned of it.
    denied: Cache<EntryName, SystemTime>,
    metrics: Metrics,
    log: LogThrottle,
}

/// A value to store.
#[derive(Debug)]
pub(super) struct SealedValue {
    pub(super) value: Vec<u8>,
    pub(super) ttl: Duration,
}

/// Why a value is not the answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is not what a broker stores.
    Faulty(Fault),
    /// The registry rejected it.
    Rejected,
    /// It was issued before AWS denied another one.
    Denied,
    /// It ends too soon for the request.
    TooShort,
    /// It does not outlast the credential that it is to replace.
    NotNewer,
}

impl Values {
    pub(super) fn new(keys: Arc<KeyRing>, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        let minters = Cache::new(MAX_MINTERS);
        let denied = Cache::builder().max_capacity(MAX_DENIED).time_to_live(DENIED_FOR).build();
        Self { keys, clock, minters, denied, metrics, log: LogThrottle::default() }
    }

    /// Notes that AWS denies an entry's credential: values from before are not used, also if the tier could not delete them (P5).
    pub(super) fn deny(&self, entry: &Entry) {
        self.denied.insert(entry.name.clone(), self.clock.now().wall);
    }

    fn is_denied(&self, entry: &Entry, credential: &Credential) -> bool {
        self.denied.get(&entry.name).is_some_and(|at| credential.issued() <= at)
    }

    /// Seals a credential that the source has returned; `None` if it ends too soon to be shared.
    pub(super) fn seal(&self, entry: &Entry, credential: &Credential) -> Option<SealedValue> {
        self.minters.insert(entry.identity().into(), credential.minter().clone());
        let ttl = credential.remaining(self.clock.now()).checked_sub(MIN_REMAINING).filter(|ttl| !ttl.is_zero())?;
        let sealed = self.keys.current().seal(&entry.key(), Plaintext::of(credential).encode());
        let value = sealed.inspect_err(|error| warn!(%error, "credential not sealed for the shared cache")).ok()?;
        Some(SealedValue { value, ttl })
    }

    /// Opens a value that the tier keeps for `ttl`, and judges whether it answers the request.
    pub(super) fn open(
        &self,
        entry: &Entry,
        sealed: &[u8],
        ttl: Option<Duration>,
        request: &FetchRequest,
    ) -> Result<Credential, Unusable> {
        let now = self.clock.now();
        match self.read(entry, sealed, now) {
            Ok(credential) if self.is_denied(entry, &credential) => Err(Unusable::Denied),
            Ok(credential) => suffices(with_ttl(credential, ttl), request, now),
            Err(fault) => {
                self.metrics.refused(fault);
                if self.log.is_due(now.steady) {
                    warn!(entry = %entry.name, error = %fault, "shared cache value refused");
                }
                Err(Unusable::Faulty(fault))
            }
        }
    }

    fn read(&self, entry: &Entry, sealed: &[u8], now: Moment) -> Result<Credential, Fault> {
        if sealed.len() > MAX_VALUE_BYTES {
            return Err(Fault::Malformed);
        }
        let message = self.keys.current().open(&entry.key(), sealed)?;
        let plaintext = Plaintext::decode(&message).ok_or(Fault::Malformed)?;
        if plaintext.issued() > now.wall + MAX_CLOCK_AHEAD {
            return Err(Fault::Clock);
        }
        let known = self.minters.get(entry.identity()).and_then(|minter| minter.unique_id());
        if known.is_some_and(|known| plaintext.minted_by_id().is_some_and(|minted_by| *minted_by != *known)) {
            return Err(Fault::Minter);
        }
        plaintext.credential(now).map_err(|error| match error {
            CredentialError::Expired => Fault::Expired,
            CredentialError::TooFar => Fault::Clock,
            CredentialError::NotBase64 | CredentialError::TooLarge | CredentialError::NoPassword => Fault::Malformed,
        })
    }
}

/// Ends the credential at the latest when the tier's clock says so: this machine's wall clock may be behind (P14).
fn with_ttl(credential: Credential, ttl: Option<Duration>) -> Credential {
    match ttl {
        Some(ttl) => {
            let end = credential.received().steady.saturating_add(ttl).saturating_add(MIN_REMAINING);
            credential.ending_by(end)
        }
        None => credential,
    }
}

fn suffices(credential: Credential, request: &FetchRequest, now: Moment) -> Result<Credential, Unusable> {
    let is_newer = |replaced: &Arc<Credential>| credential.expires() > replaced.expires();
    if request.rejected == Some(credential.id()) {
        Err(Unusable::Rejected)
    } else if credential.remaining(now) < request.min_validity {
        Err(Unusable::TooShort)
    } else if request.replaces.as_ref().is_some_and(|replaced| !is_newer(replaced)) {
        Err(Unusable::NotNewer)
    } else {
        Ok(credential)
    }
}
