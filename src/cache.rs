//! The cache: what is held, what is on its way, and what failed a moment ago.
//!
//! Three rules make it safe, and each has a reason.
//!
//! - **A fetch belongs to nobody.** It runs in a task of its own, so a caller that gives up does not end it (P2).
//! - **Freshness is ours, moka's expiry is hygiene.** Whether a credential may be handed out is decided here, by our [`Clock`];
//!   moka's own clock only sees to it that dead secrets leave the memory. So a held credential that is too old for one caller
//!   must be replaceable while moka still holds it, and that is why there are two moka caches: `credentials` is only read and
//!   inserted, and every fetch, refreshes included, goes through `flights`, whose entries live for no time at all and which
//!   does nothing but coalesce (P1).
//! - **A failure is an answer too.** It lands in the same flight, is shared by all who wait, and is remembered for its hold (P6).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use moka::future::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tracing::{Span, error, warn};

use self::backoff::Failures;
use self::entry::{Entry, RefreshClaim, Unusable};
use self::flight_task::{FlightTask, LeaderClaim};
use self::singleflight::{Call, FlightOutcome, FlightRequest};
use self::store::Store;
use self::subscriptions::Subscriptions;
use crate::caller::Caller;
use crate::clock::Clock;
use crate::credential::{Credential, CredentialId, CredentialKey};
use crate::error::{BrokerError, FailureClass, UpstreamError};
use crate::request_id::RequestId;
use crate::source::{CredentialSource, SourceStatus};
use crate::trace::SpanIdentity;

mod backoff;
mod entry;
mod flight_task;
mod singleflight;
mod store;
mod subscriptions;

pub use self::subscriptions::KeyChanges;

/// Of those who may wait, one in so many more may be those who watch: they can come back later.
const SHARE_OF_WATCHERS: usize = 4;
/// The cache abandons a fetch this long after the source's own budget, so that the source's own error comes first.
const FETCH_GRACE: Duration = Duration::from_secs(1);

/// How the cache behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// When a held credential is refreshed, at the latest; half its lifetime when that is less.
    pub refresh_after: Duration,
    /// A credential with less than this left is never handed out.
    pub safety_margin: Duration,
    /// How many credentials are held.
    pub capacity: u64,
    /// How many callers may wait for fetches at a time.
    pub max_waiters: usize,
}

/// One caller's wish.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// Which credential.
    pub key: CredentialKey,
    /// How long it must still last.
    pub min_validity: Duration,
    /// The one that the registry refused.
    pub rejected: Option<CredentialId>,
    /// The request that this is for.
    pub request: RequestId,
    /// Who makes it; none where that is the broker itself.
    pub caller: Option<Caller>,
}

/// How a caller came by its credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    /// It was there.
    Hit,
    /// This caller started the fetch.
    Miss,
    /// It waited for a fetch that another had started.
    Coalesced,
    /// It was there, but the last refresh failed.
    Stale,
}

/// A credential that meets the caller's wish.
#[derive(Debug, Clone)]
pub struct Found {
    /// The credential.
    pub credential: Arc<Credential>,
    /// How it was come by.
    pub status: CacheStatus,
    /// How long from now the caller should ask again.
    pub refresh_after: Duration,
}

/// What somebody who watches a key has to know beside the credential that there is.
#[derive(Debug, Clone)]
pub struct RefreshState {
    /// Why the last refresh failed, where it did and its hold is not over.
    pub failure: Option<BrokerError>,
    /// When the credential is due, or too short for the wish, unless something becomes of it before; none where that is not known.
    pub due_in: Option<Duration>,
}

/// Credentials by key. A clone is another handle of the same cache.
#[derive(Debug, Clone)]
pub struct CredentialCache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    source: Arc<dyn CredentialSource>,
    clock: Arc<dyn Clock>,
    credentials: Store,
    flights: Cache<CredentialKey, Arc<FlightOutcome>>,
    failures: Failures,
    watchers: Subscriptions,
    waiters: Arc<Semaphore>,
    waiting_watchers: Arc<Semaphore>,
    fetches: TaskTracker,
    fetch_timeout: Duration,
}

impl CredentialCache {
    /// An empty cache in front of `source`.
    #[must_use]
    pub fn new(settings: Settings, source: Arc<dyn CredentialSource>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            credentials: Store::new(settings.capacity, &clock),
            flights: Cache::builder().time_to_live(Duration::ZERO).build(),
            failures: Failures::new(settings.capacity),
            watchers: Subscriptions::new(settings.capacity),
            waiters: Arc::new(Semaphore::new(settings.max_waiters)),
            waiting_watchers: Arc::new(Semaphore::new(settings.max_waiters.div_ceil(SHARE_OF_WATCHERS))),
            fetches: TaskTracker::new(),
            fetch_timeout: source.fetch_budget() + FETCH_GRACE,
            settings,
            source,
            clock,
        }))
    }

    /// A credential that meets the wish: held, or fetched.
    ///
    /// # Errors
    /// Where AWS gives none, or failed so recently that it is not asked, or nothing it could give meets the wish.
    pub async fn get(&self, lookup: Lookup) -> Result<Found, BrokerError> {
        self.get_waiting_in(lookup, &self.0.waiters).await
    }

    async fn get_waiting_in(&self, lookup: Lookup, waiters: &Arc<Semaphore>) -> Result<Found, BrokerError> {
        let inner = &self.0;
        if let Some(found) = inner.look(&lookup).await? {
            return Ok(found);
        }
        let permit = Arc::clone(waiters).try_acquire_owned().map_err(|_| overloaded())?;
        let permit = Arc::new(permit);
        // A flight that was in the air already may bring too little for this caller, or have had no turn because of who had started it; the
        // next one is its own.
        let mut problem = BrokerError::Internal;
        for _ in 0..2 {
            let departure = FlightRequest { lookup: lookup.clone(), refresh: false, parent: SpanIdentity::current() };
            let (landing, status) = self.board(departure, Arc::clone(&permit)).await?;
            problem = match &landing.result {
                Ok(entry) => match inner.judge(entry, &lookup) {
                    Ok(()) => return Ok(inner.found(entry, status)),
                    Err(Unusable::Unreachable) => return Err(inner.unsatisfied(Unusable::Unreachable, &lookup)),
                    Err(short) => inner.unsatisfied(short, &lookup),
                },
                Err(error @ BrokerError::QueueFull { .. }) if status == CacheStatus::Coalesced => error.clone(),
                Err(error) => return Err(error.clone()),
            };
        }
        Err(problem)
    }

    /// Sees to it that a credential is held and fresh, without waiting for AWS: starts a fetch or a refresh where one is due and no failure
    /// is held.
    pub async fn warm(&self, key: CredentialKey) {
        let request = RequestId::random();
        let lookup = Lookup { key, min_validity: Duration::ZERO, rejected: None, request, caller: None };
        if let Ok(None) = self.0.look(&lookup).await {
            let inner = Arc::clone(&self.0);
            let departure = FlightRequest { lookup, refresh: false, parent: None };
            self.0.fetches.spawn(async move { inner.fly(departure, &LeaderClaim::default()).await });
        }
    }

    /// The same for somebody who watches, and waits in a place of those who do.
    ///
    /// # Errors
    /// As there.
    pub async fn get_for_watch(&self, lookup: Lookup) -> Result<Found, BrokerError> {
        self.get_waiting_in(lookup, &self.0.waiting_watchers).await
    }

    /// What becomes of a key from now on.
    ///
    /// # Errors
    /// Where as many keys are watched as may be.
    pub fn changes(&self, key: &CredentialKey) -> Result<KeyChanges, BrokerError> {
        self.0.watchers.add(key)
    }

    /// What may become of what the wish was given.
    pub async fn refresh_state(&self, lookup: &Lookup) -> RefreshState {
        let now = self.0.clock.now();
        let failure = self.0.failures.held(&lookup.key, now).await.err();
        let entry = self.0.credentials.get(&lookup.key).await;
        let due_in = entry.map(|entry| {
            let too_short = entry.credential.remaining(now).saturating_sub(self.0.needed(lookup));
            entry.due_in(now).min(too_short)
        });
        RefreshState { failure, due_in: due_in.filter(|due_in| !due_in.is_zero()) }
    }

    /// What is held and good, with its end; for lists. Asks nobody.
    #[must_use]
    pub fn held(&self) -> Vec<(CredentialKey, Arc<Credential>)> {
        let now = self.0.clock.now();
        let margin = self.0.settings.safety_margin;
        let held = self.0.credentials.iter().map(|(key, entry)| ((*key).clone(), Arc::clone(&entry.credential)));
        held.filter(|(_, credential)| credential.remaining(now) >= margin).collect()
    }

    /// Whether callers can be served at all: there is an AWS identity as far as is known, or something good is held.
    #[must_use]
    pub fn can_serve(&self) -> bool {
        let (now, margin) = (self.0.clock.now(), self.0.settings.safety_margin);
        self.0.source.status() == SourceStatus::Ready
            || self.0.credentials.iter().any(|(_, entry)| entry.judge(margin, None, now).is_ok())
    }

    /// Has the source look again for what it needs to fetch. A panic there is logged and changes nothing.
    pub async fn check_source(&self) {
        if AssertUnwindSafe(self.0.source.check()).catch_unwind().await.is_err() {
            error!("source check panicked");
        }
    }

    /// Returns whether the source can fetch, as far as it knows.
    #[must_use]
    pub fn source_status(&self) -> SourceStatus {
        self.0.source.status()
    }

    /// Drops what has ended. moka does so only when it is used, and an idle broker should not keep dead secrets.
    pub async fn sweep(&self) {
        self.0.credentials.sweep().await;
        self.0.flights.run_pending_tasks().await;
        self.0.failures.sweep().await;
    }

    /// Waits until no fetch is under way, once no caller is left to start one; no longer than `limit`.
    pub async fn wait_for_fetches(&self, limit: Duration) {
        self.0.fetches.close();
        if tokio::time::timeout(limit, self.0.fetches.wait()).await.is_err() {
            warn!(fetches = self.0.fetches.len(), "fetches were still under way at the end");
        }
    }

    /// Joins the key's flight, or starts it, in a task that the caller's end does not end.
    async fn board(
        &self,
        departure: FlightRequest,
        permit: Arc<OwnedSemaphorePermit>,
    ) -> Result<(Arc<FlightOutcome>, CacheStatus), BrokerError> {
        let (cache, seat) = (self.clone(), LeaderClaim::default());
        let taken = seat.clone();
        let flight = self.0.fetches.spawn(async move {
            let _waiting = permit;
            cache.0.fly(departure, &taken).await
        });
        let landed = FlightTask::new(seat, flight).landed().await;
        // While its caller waits, only the runtime's own end cancels a task.
        let (landing, led) =
            landed.map_err(|error| if error.is_panic() { BrokerError::Internal } else { BrokerError::ShuttingDown })?;
        let status = match (&landing.call, led) {
            (Call::Made(_), true) => CacheStatus::Miss,
            (Call::None, true) => landing.result.as_ref().map_or(CacheStatus::Hit, |entry| entry.status()),
            (Call::Made(Some(span)), false) => {
                span.link_from(&Span::current());
                CacheStatus::Coalesced
            }
            (_, false) => CacheStatus::Coalesced,
        };
        Ok((landing, status))
    }
}

fn overloaded() -> BrokerError {
    BrokerError::Overloaded { resource: "waiting callers", retry_after: Duration::from_secs(1) }
}

impl Inner {
    /// What the held credential, or a failure that is remembered, has to say. `None`: fetch.
    async fn look(self: &Arc<Self>, lookup: &Lookup) -> Result<Option<Found>, BrokerError> {
        if let Some(entry) = self.credentials.get(&lookup.key).await {
            match self.judge(&entry, lookup) {
                Ok(()) => return Ok(Some(self.hit(&entry, lookup).await)),
                Err(Unusable::Unreachable) => return Err(self.unsatisfied(Unusable::Unreachable, lookup)),
                Err(Unusable::Rejected) => self.may_replace_rejected(lookup).await?,
                Err(Unusable::TooShort) => {}
            }
        } else {
            self.credentials.check_room(&lookup.key)?;
        }
        self.failures.held(&lookup.key, self.clock.now()).await.map(|()| None)
    }

    async fn may_replace_rejected(&self, lookup: &Lookup) -> Result<(), BrokerError> {
        let unusable = self.failure(FailureClass::InvalidResponse);
        self.failures.may_replace_rejected(&lookup.key, self.clock.now(), unusable).await
    }

    fn judge(&self, entry: &Entry, lookup: &Lookup) -> Result<(), Unusable> {
        entry.judge(self.needed(lookup), lookup.rejected, self.clock.now())
    }

    fn needed(&self, lookup: &Lookup) -> Duration {
        lookup.min_validity.max(self.settings.safety_margin)
    }

    async fn hit(self: &Arc<Self>, entry: &Arc<Entry>, lookup: &Lookup) -> Found {
        let now = self.clock.now();
        if entry.is_due(now)
            && self.failures.held(&lookup.key, now).await.is_ok()
            && let Some(claim) = RefreshClaim::take(entry)
        {
            self.refresh(claim, lookup);
        }
        self.found(entry, entry.status())
    }

    fn found(&self, entry: &Entry, status: CacheStatus) -> Found {
        let refresh_after = entry.ask_again_after(self.clock.now());
        Found { credential: Arc::clone(&entry.credential), status, refresh_after }
    }

    fn failure(&self, class: FailureClass) -> BrokerError {
        UpstreamError::new(self.source.name(), class).into()
    }

    fn unsatisfied(&self, shortfall: Unusable, lookup: &Lookup) -> BrokerError {
        match shortfall {
            Unusable::Rejected => self.failure(FailureClass::InvalidResponse),
            Unusable::Unreachable | Unusable::TooShort => BrokerError::ValidityUnsatisfiable {
                asked: self.needed(lookup).into(),
                limit: "no new credential lasts this long; request less".to_owned(),
            },
        }
    }
}
