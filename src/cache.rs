//! The credential cache: single flight, background refresh and failure backoff.
//!
//! - **A fetch outlives its callers (P2).** Each fetch runs in its own task.
//! - **The broker decides whether a credential is fresh, not moka.** The decision uses the broker's own [`Clock`] (P3, P14). moka's
//!   expiry only removes expired secrets from memory.
//! - **Storage and flights are separate moka caches.** A caller that needs a longer validity must be able to replace a credential
//!   that is still stored. So the caches in `store.rs` never load. Every fetch and refresh goes through the one in `singleflight.rs`.
//!   Its entries expire at once: it only coalesces concurrent fetches (P1).
//! - **A failure is cached, too (P6).** All waiting callers receive it, and so do later callers until its backoff ends.

use std::sync::Arc;
use std::time::Duration;

use self::entry::{Entry, RefreshClaim, Unusable};
use self::fetch::Fetcher;
use self::flight::FlightRequest;
use self::metrics::Metrics;
use self::shared::Shared;
use self::singleflight::SingleFlight;
use self::waiters::Waiters;
use crate::clock::Clock;
use crate::credential::CredentialKey;
use crate::error::{BrokerError, FailureClass};
use crate::hops::Hops;
use crate::limits::LimitHits;
use crate::metrics::Registry;
use crate::request_id::RequestId;
use crate::source::CredentialSource;
use crate::trace::SpanIdentity;

mod adopt;
mod backoff;
mod by_key;
mod cached_hit;
mod copies;
mod entry;
mod fetch;
mod flight;
mod identity_tokens;
mod index;
mod kept;
mod key_status;
mod keys;
mod lookup;
mod metrics;
mod patience;
mod progress;
mod repeat;
mod retired;
mod runway;
mod scope;
mod settings;
mod shared;
mod singleflight;
mod status;
mod store;
mod subscriptions;
mod token_scope;
mod touches;
mod waiters;

pub(crate) use self::cached_hit::{CachedHit, Repeat};
pub use self::identity_tokens::IdentityTokens;
pub use self::kept::{KeptCredential, NotPutBack};
pub use self::key_status::{CachedTimes, KeyFailure, KeyFilter, KeyOrder, KeyQuery, KeyStatus, KeysStatus};
pub use self::lookup::{CacheStatus, Found, Lookup, RefreshState};
pub use self::scope::{Cached, OwnKeys, Scope};
pub use self::settings::Settings;
pub use self::subscriptions::KeyChanges;
pub use self::token_scope::{SharedKeys, TokenScope};

/// Divisor of `max_waiters` for the separate limit of waiting watches: a watch can retry later.
const WATCH_SHARE: usize = 4;

/// Credentials by key. A clone is another handle of the same cache.
#[derive(Debug, Clone)]
pub struct CredentialCache {
    shared: Arc<Shared>,
    flights: SingleFlight,
    waiters: Waiters,
    watch_waiters: Waiters,
}

impl CredentialCache {
    /// Returns an empty cache in front of `source`.
    #[must_use]
    pub fn new(
        settings: Settings,
        source: Arc<dyn CredentialSource>,
        clock: Arc<dyn Clock>,
        limit_hits: &LimitHits,
        registry: &mut Registry,
    ) -> Self {
        let (max_waiters, max_keys) = (settings.max_waiters, settings.max_exposed_keys);
        let metrics = Metrics::new(registry, limit_hits.clone());
        let shared = Arc::new(Shared::new(settings, source, clock, metrics));
        runway::expose(registry, Arc::clone(&shared), max_keys);
        Self {
            flights: SingleFlight::new(Fetcher::new(Arc::clone(&shared))),
            shared,
            waiters: Waiters::new(max_waiters, limit_hits.clone()),
            watch_waiters: Waiters::new(max_waiters.div_ceil(WATCH_SHARE), limit_hits.clone()),
        }
    }

    /// Returns a credential that meets the lookup: from the cache, or fetched.
    ///
    /// # Errors
    /// The source failed, a failure's backoff has not ended, no credential can meet the lookup, too many callers wait, or the fetch
    /// cannot start in time.
    pub async fn get(&self, lookup: Lookup) -> Result<Found, BrokerError> {
        self.get_as(lookup, &self.waiters).await
    }

    /// Returns a credential for a watch. Like [`Self::get`], but watches have their own limit of waiters (P8).
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_for_watch(&self, lookup: Lookup) -> Result<Found, BrokerError> {
        self.get_as(lookup, &self.watch_waiters).await
    }

    async fn get_as(&self, lookup: Lookup, waiters: &Waiters) -> Result<Found, BrokerError> {
        match self.find(&lookup).await? {
            Some(found) => Ok(found),
            None => self.fetch(lookup, waiters).await,
        }
    }

    /// Returns the cached credential if it meets the lookup, and `None` if the caller should fetch one.
    ///
    /// # Errors
    /// A fetch cannot help, or the backoff of an earlier failure has not ended.
    async fn find(&self, lookup: &Lookup) -> Result<Option<Found>, BrokerError> {
        if let Some(entry) = self.shared.store.get(&lookup.key).await {
            match self.shared.check(&entry, lookup) {
                Ok(()) => return Ok(Some(self.hit(&entry, lookup).await)),
                Err(Unusable::Unreachable) => return Err(self.unsatisfiable(lookup)),
                Err(Unusable::Rejected) => self.shared.check_replacement(lookup).await?,
                Err(Unusable::TooShort) => {}
            }
        }
        self.shared.backoff.check(&lookup.key, self.shared.now()).await.map(|()| None)
    }

    /// P4: returns the cached credential at once. If a refresh is due, starts it in the background.
    async fn hit(&self, entry: &Arc<Entry>, lookup: &Lookup) -> Found {
        let now = self.shared.now();
        if entry.is_due(now)
            && self.shared.backoff.check(&lookup.key, now).await.is_ok()
            && let Some(claim) = RefreshClaim::take(entry)
        {
            self.flights.start_refresh(claim, lookup.clone());
        }
        self.found(entry, entry.status())
    }

    /// Waits for the key's flight. If another caller led it and its result does not meet this lookup, waits for a second flight.
    async fn fetch(&self, lookup: Lookup, waiters: &Waiters) -> Result<Found, BrokerError> {
        let wait = Arc::new(waiters.admit(lookup.requester())?);
        let mut problem = BrokerError::Internal;
        for _ in 0..2 {
            let parent_span = SpanIdentity::current();
            let request = FlightRequest { lookup: lookup.clone(), is_refresh: false, parent_span };
            let (outcome, status) = self.flights.join_flight(request, Arc::clone(&wait)).await?;
            problem = match &outcome.result {
                Ok(entry) => match self.shared.check(entry, &lookup) {
                    Ok(()) => return Ok(self.found(entry, status)),
                    Err(Unusable::Unreachable) => return Err(self.unsatisfiable(&lookup)),
                    Err(Unusable::TooShort) if status == CacheStatus::Miss => {
                        return Err(self.too_short(entry, &lookup));
                    }
                    Err(Unusable::TooShort) => self.unsatisfiable(&lookup),
                    Err(Unusable::Rejected) => self.shared.failure(FailureClass::InvalidResponse),
                },
                // The leader's queue was full, and this caller has its own lane; or only the leader's request was refused.
                Err(error) if error.is_of_request() && status == CacheStatus::Coalesced => error.clone(),
                Err(error) => return Err(error.clone()),
            };
        }
        Err(problem)
    }

    fn found(&self, entry: &Entry, status: CacheStatus) -> Found {
        entry.uses.count(status);
        let now = self.shared.now();
        let (refresh_after, remaining) = (entry.refresh_after(now), entry.credential.remaining(now));
        Found { credential: Arc::clone(&entry.credential), status, refresh_after, remaining }
    }

    fn unsatisfiable(&self, lookup: &Lookup) -> BrokerError {
        BrokerError::ValidityUnsatisfiable {
            asked: self.shared.needed(lookup).into(),
            limit: "no new credential lasts this long; request less".to_owned(),
        }
    }

    /// Returns the error for a fetched credential whose validity is too short. If AWS has just issued it, no longer one exists.
    /// If it is old, the source broke its contract: a newer credential would last longer, so a retry may help.
    fn too_short(&self, entry: &Entry, lookup: &Lookup) -> BrokerError {
        if entry.is_fresh(self.shared.now()) {
            self.unsatisfiable(lookup)
        } else {
            self.shared.failure(FailureClass::InvalidResponse)
        }
    }

    /// Keeps a key's credential cached and fresh. Starts a fetch or a refresh if one is due and no backoff forbids it, and does
    /// not wait for it.
    pub async fn warm(&self, key: CredentialKey) {
        let request_id = RequestId::random();
        let lookup = Lookup {
            key,
            min_validity: Duration::ZERO,
            rejected: None,
            request_id,
            hops: Hops::default(),
            caller: None,
            token: None,
            answer_by: None,
        };
        if let Ok(None) = self.find(&lookup).await {
            self.flights.start_fetch(lookup);
        }
    }

    /// Subscribes to the changes of a key.
    ///
    /// # Errors
    /// Too many keys are watched.
    pub fn subscribe(&self, key: &CredentialKey) -> Result<KeyChanges, BrokerError> {
        self.shared.subscriptions.subscribe(key)
    }

    /// Evicts expired secrets. moka evicts only when it is used, and an idle broker must not keep expired secrets in memory.
    pub async fn sweep(&self) {
        self.shared.store.sweep().await;
        self.flights.sweep().await;
        self.shared.backoff.sweep().await;
    }

    /// Waits until no fetch is in flight, at most `limit`. For shutdown, when no caller can start one.
    pub async fn wait_for_fetches(&self, limit: Duration) {
        self.flights.wait(limit).await;
    }
}
