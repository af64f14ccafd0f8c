//! Keys that are fetched by `OpenID` Connect Discovery: at an interval, and for a token with an unknown key.
//!
//! Tokens cannot make the broker call an issuer more often than every ten seconds. While an issuer cannot be reached, its last keys
//! stay valid for a day.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, Semaphore, watch};
use tracing::{info, warn};

use super::discovery::DiscoveryClient;
use crate::authn::jwt::key::{Key, KeyFingerprint};
use crate::authn::jwt::key_set::KeySet;
use crate::authn::jwt::rejected::TokenRejected;
use crate::clock::Clock;
use crate::jitter;
use crate::moment::Moment;
use crate::sync::lock;

/// Time between two fetches, plus or minus a tenth.
const FETCH_INTERVAL: Duration = Duration::from_mins(10);
/// Shortest time between the end of a fetch and the next one that an unknown key may start.
pub(in crate::authn) const FETCH_COOLDOWN: Duration = Duration::from_secs(10);
/// Validity of fetched keys while later fetches fail.
const MAX_KEY_AGE: Duration = Duration::from_hours(24);
/// Maximum number of calls that wait for one issuer's keys.
const MAX_WAITERS: usize = 1024;

/// The keys of an issuer that publishes them.
#[derive(Debug)]
pub(in crate::authn::jwt) struct DiscoveredKeys {
    issuer: String,
    client: DiscoveryClient,
    /// `None` before the first successful fetch.
    current: ArcSwapOption<FetchedKeys>,
    fetch: Mutex<FetchState>,
    /// Number of fetches that have ended.
    fetches: watch::Sender<u64>,
    fetch_requested: Notify,
    waiters: Semaphore,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct FetchedKeys {
    keys: KeySet,
    at: Moment,
}

#[derive(Debug)]
struct FetchState {
    in_flight: bool,
    /// End of the last fetch, on the monotonic clock.
    ended: Option<Duration>,
}

impl DiscoveredKeys {
    pub(super) fn new(issuer: String, client: DiscoveryClient, clock: Arc<dyn Clock>) -> Self {
        Self {
            issuer,
            client,
            current: ArcSwapOption::empty(),
            // Calls wait for the first fetch, which starts with `follow`.
            fetch: Mutex::new(FetchState { in_flight: true, ended: None }),
            fetches: watch::Sender::new(0),
            fetch_requested: Notify::new(),
            waiters: Semaphore::new(MAX_WAITERS),
            clock,
        }
    }

    /// Returns a key by its ID. For an unknown ID, fetches the keys first, unless the last fetch is within the cooldown.
    pub(super) async fn get(&self, id: &str) -> Result<Key, TokenRejected> {
        if let Some(key) = self.find(id) {
            return Ok(key);
        }
        // Subscribe before the request: otherwise the end of the fetch could be missed.
        let mut fetches = self.fetches.subscribe();
        if self.request_fetch() {
            let _waiter = self.waiters.try_acquire().map_err(|_| TokenRejected::KeysUnavailable)?;
            // The fetch has a timeout, which bounds this wait.
            _ = fetches.changed().await;
        }
        let missing =
            || if self.fresh().is_some() { TokenRejected::KeyUnknown } else { TokenRejected::KeysUnavailable };
        self.find(id).ok_or_else(missing)
    }

    pub(super) fn has(&self, key: &KeyFingerprint) -> bool {
        self.fresh().is_some_and(|fetched| fetched.keys.has(key))
    }

    /// Returns the time since the last successful fetch.
    pub(super) fn age(&self) -> Option<Duration> {
        Some(self.clock.now().since(self.current.load().as_ref()?.at))
    }

    /// Fetches the keys at an interval and on request, for as long as it is polled.
    pub(super) async fn follow(&self) {
        loop {
            lock(&self.fetch).in_flight = true;
            let outcome = self.client.fetch().await;
            self.record(outcome);
            self.next_fetch().await;
        }
    }

    fn find(&self, id: &str) -> Option<Key> {
        self.fresh()?.keys.get(id).cloned()
    }

    /// Returns the keys if they were fetched within [`MAX_KEY_AGE`].
    fn fresh(&self) -> Option<Arc<FetchedKeys>> {
        let fetched = self.current.load_full()?;
        let left = self.clock.now().until(fetched.at.after(MAX_KEY_AGE));
        (!left.is_zero()).then_some(fetched)
    }

    /// Requests a fetch unless one has just ended, and returns whether one is in flight.
    fn request_fetch(&self) -> bool {
        let mut fetch = lock(&self.fetch);
        let cooling = fetch.ended.is_some_and(|ended| self.clock.now().steady.saturating_sub(ended) < FETCH_COOLDOWN);
        if !fetch.in_flight && !cooling {
            fetch.in_flight = true;
            self.fetch_requested.notify_one();
        }
        fetch.in_flight
    }

    /// Waits for the interval or a request. A request that the last fetch has already answered is ignored.
    async fn next_fetch(&self) {
        let interval = tokio::time::sleep(jitter::around(FETCH_INTERVAL));
        tokio::pin!(interval);
        loop {
            tokio::select! {
                () = &mut interval => return,
                () = self.fetch_requested.notified() => if lock(&self.fetch).in_flight { return },
            }
        }
    }

    fn record(&self, outcome: Result<KeySet, String>) {
        let now = self.clock.now();
        match outcome {
            Ok(keys) => self.replace(FetchedKeys { keys, at: now }),
            Err(error) if self.fresh().is_some() => {
                warn!(issuer = self.issuer, error, "issuer key fetch failed; the last keys stay in force");
            }
            Err(error) => {
                warn!(issuer = self.issuer, error, "issuer key fetch failed; without keys its tokens are rejected");
            }
        }
        *lock(&self.fetch) = FetchState { in_flight: false, ended: Some(now.steady) };
        self.fetches.send_modify(|number| *number += 1);
    }

    fn replace(&self, fetched: FetchedKeys) {
        let is_empty = fetched.keys.is_empty();
        let is_first = self.current.swap(Some(Arc::new(fetched))).is_none();
        if is_empty {
            warn!(issuer = self.issuer, "issuer published no usable key; its tokens are rejected");
        } else if is_first {
            info!(issuer = self.issuer, "issuer keys fetched");
        }
    }
}
