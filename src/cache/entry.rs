//! Cache entry: a credential, the checks before it is returned, and the state of its refresh.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::kept::KeptCredential;
use super::lookup::CacheStatus;
use crate::credential::{Credential, CredentialId, CredentialKey};
use crate::jitter;
use crate::moment::Moment;

/// Minimum of `refresh_after`. Without it, every client would poll while a refresh fails.
const MIN_REFRESH_AFTER: Duration = Duration::from_mins(1);

/// Age up to which a credential is fresh: a replacement would not last noticeably longer.
const FRESH: Duration = Duration::from_mins(1);

/// Time after the refresh by a parent broker from which its push counts as overdue.
const PUSH_OVERDUE: Duration = Duration::from_mins(1);

/// Divisor of the validity that is left, for each part of the wait for a push.
const PUSH_WAIT_SHARE: u32 = 20;

/// A credential and the state of its refresh.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) credential: Arc<Credential>,
    /// Boxed, because few entries have one.
    rejected: Option<Box<CredentialId>>,
    refresh_at: Moment,
    is_refreshing: AtomicBool,
    is_stale: AtomicBool,
    /// Whether the storage no longer has the entry. Set before moka knows, so that no hit beside it comes later.
    is_gone: AtomicBool,
    /// The last use that moka does not know; zero: it knows all. See `touches.rs`.
    pub(super) touched: AtomicU64,
    /// The number of the last use, of a credential of a single caller. See `touches.rs`.
    pub(super) last_use: AtomicU64,
    pub(super) uses: Uses,
}

/// Counts of the answers with a key's credentials, for the status. They pass to the credential that replaces another.
#[derive(Debug, Default)]
pub(super) struct Uses {
    hits: AtomicU64,
    coalesced: AtomicU64,
}

/// Exclusive right to refresh an entry.
#[derive(Debug)]
pub(super) struct RefreshClaim(Arc<Entry>);

/// Why a cached credential cannot be returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// The registry rejected the credential.
    Rejected,
    /// The credential ends too soon. A replacement may last longer.
    TooShort,
    /// The credential ends too soon, and so would a replacement.
    Unreachable,
}

impl Entry {
    /// Sets the refresh time: after `refresh_after` or half of the validity that is left, with jitter, so that entries that were
    /// fetched together are not refreshed together. The jitter is chosen once. With new jitter at every read, an entry could be due
    /// and then not due.
    ///
    /// A parent broker refreshes its credential itself and pushes the new one. This broker asks only if the push is overdue.
    ///
    /// The time counts from the receipt and not from the issue. A source may return the same old credential again and again, and
    /// each read would start a refresh.
    pub(super) fn new(credential: Credential, refresh_after: Duration, uses: Uses) -> Self {
        let received = credential.received();
        let remaining = credential.remaining(received);
        let due_in = match credential.source_refresh() {
            Some(refresh) => overdue_in(refresh, remaining),
            None => jitter::around(refresh_after.min(remaining / 2)),
        };
        Self {
            refresh_at: received.after(due_in),
            rejected: None,
            credential: Arc::new(credential),
            is_refreshing: AtomicBool::new(false),
            is_stale: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
            touched: AtomicU64::new(0),
            last_use: AtomicU64::new(0),
            uses,
        }
    }

    /// Sets the credential that a registry rejected.
    pub(super) fn after_rejection(self, rejected: Option<CredentialId>) -> Self {
        Self { rejected: rejected.map(Box::new), ..self }
    }

    /// Returns the credential that a registry rejected, and that a push must not bring back.
    pub(super) fn rejected(&self) -> Option<CredentialId> {
        self.rejected.as_deref().copied()
    }

    /// Returns the entry with a refresh not before `delay` from now, and marked as STALE or not.
    pub(super) fn postponed(&self, now: Moment, delay: Duration, is_stale: bool) -> Self {
        let delay = delay.min(self.credential.remaining(now) / 4).max(self.due_in(now));
        Self {
            credential: Arc::clone(&self.credential),
            rejected: self.rejected.clone(),
            refresh_at: now.after(delay),
            is_refreshing: AtomicBool::new(false),
            is_stale: AtomicBool::new(is_stale),
            is_gone: AtomicBool::new(false),
            touched: AtomicU64::new(0),
            last_use: AtomicU64::new(0),
            uses: self.uses.carried(),
        }
    }

    /// Returns what a later process needs to cache the credential as it is here.
    pub(super) fn kept(&self, key: &CredentialKey) -> KeptCredential {
        let (credential, refresh_at) = (Arc::clone(&self.credential), self.refresh_at);
        KeptCredential { key: key.clone(), credential, refresh_at, is_stale: self.is_stale() }
    }

    /// Checks that the credential lasts as long as `needed` and is not the `rejected` one (P3).
    ///
    /// Three places end a credential's use: this check and by the same rule `repeat.rs`, a denial in `Fetcher::keep_failure` (P5),
    /// and moka's expiry in `store.rs`.
    pub(super) fn check(&self, needed: Duration, rejected: Option<CredentialId>, now: Moment) -> Result<(), Unusable> {
        let remaining = self.credential.remaining(now);
        if rejected == Some(self.credential.id()) {
            Err(Unusable::Rejected)
        } else if Self::lasts(remaining, needed) {
            Ok(())
        } else if needed > self.replacement_validity(now) && !self.is_due(now) {
            Err(Unusable::Unreachable)
        } else {
            Err(Unusable::TooShort)
        }
    }

    /// Returns whether a validity that is left is as long as `needed`.
    pub(super) fn lasts(remaining: Duration, needed: Duration) -> bool {
        remaining >= needed && !remaining.is_zero()
    }

    /// Estimates the validity of a replacement: at most the validity that is left plus the credential's age. For a credential that
    /// AWS has just issued, a replacement lasts no longer. For one that another broker received hours ago, it may.
    fn replacement_validity(&self, now: Moment) -> Duration {
        self.credential.remaining(now) + self.credential.age(now)
    }

    /// Returns whether AWS issued the credential a moment ago.
    pub(super) fn is_fresh(&self, now: Moment) -> bool {
        self.credential.age(now) < FRESH
    }

    /// Returns whether a refresh is due.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.due_in(now).is_zero()
    }

    /// Returns the time until the refresh.
    pub(super) fn due_in(&self, now: Moment) -> Duration {
        now.until(self.refresh_at)
    }

    /// Returns the status of a hit: STALE if its last refresh failed. `Fetcher::keep_failure` sets the mark (P5).
    pub(super) fn status(&self) -> CacheStatus {
        if self.is_stale() { CacheStatus::Stale } else { CacheStatus::Hit }
    }

    /// Marks the entry as STALE. A successful refresh replaces the entry, and the mark with it.
    pub(super) fn mark_stale(&self) {
        self.is_stale.store(true, Ordering::Relaxed);
    }

    /// Notes that the storage replaces or drops the entry.
    pub(super) fn mark_gone(&self) {
        self.is_gone.store(true, Ordering::Release);
    }

    /// Returns whether the storage has replaced or dropped the entry.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    /// Returns whether the last refresh failed.
    pub(super) fn is_stale(&self) -> bool {
        self.is_stale.load(Ordering::Relaxed)
    }

    /// Returns the delay after which a caller should ask again.
    pub(super) fn refresh_after(&self, now: Moment) -> Duration {
        Self::refresh_within(self.due_in(now), self.credential.remaining(now))
    }

    /// Returns the delay after which a caller should ask again, from the time until the refresh and the validity that is left.
    pub(super) fn refresh_within(due_in: Duration, remaining: Duration) -> Duration {
        due_in.max(MIN_REFRESH_AFTER).min(remaining)
    }
}

/// Returns the time after which a push is overdue: a minute after the parent's refresh, plus a random part of up to a tenth of the
/// time to it. Thousands of brokers may miss the same push. Both parts are shorter if little validity is left.
fn overdue_in(refresh: Duration, remaining: Duration) -> Duration {
    let longest = remaining / PUSH_WAIT_SHARE;
    let (overdue, spread) = (PUSH_OVERDUE.min(longest), PUSH_OVERDUE.max(refresh / 10).min(longest));
    refresh.min(remaining / 2) + overdue + jitter::up_to(spread)
}

impl From<KeptCredential> for Entry {
    /// Keeps the refresh time: credentials that were fetched at different times are not refreshed together after a restart.
    fn from(kept: KeptCredential) -> Self {
        let KeptCredential { key: _, credential, refresh_at, is_stale } = kept;
        Self {
            credential,
            rejected: None,
            refresh_at,
            is_refreshing: AtomicBool::new(false),
            is_stale: AtomicBool::new(is_stale),
            is_gone: AtomicBool::new(false),
            touched: AtomicU64::new(0),
            last_use: AtomicU64::new(0),
            uses: Uses::default(),
        }
    }
}

impl Uses {
    /// Counts an answer by its origin. A miss counts as a fetch, and not here. Costs a hit one relaxed addition.
    pub(super) fn count(&self, status: CacheStatus) {
        match status {
            CacheStatus::Hit | CacheStatus::Stale => _ = self.hits.fetch_add(1, Ordering::Relaxed),
            CacheStatus::Coalesced => _ = self.coalesced.fetch_add(1, Ordering::Relaxed),
            CacheStatus::Miss => {}
        }
    }

    pub(super) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Returns the number of all answers.
    pub(super) fn total(&self) -> u64 {
        self.hits() + self.coalesced()
    }

    pub(super) fn coalesced(&self) -> u64 {
        self.coalesced.load(Ordering::Relaxed)
    }

    /// Returns the counts for the credential that replaces this one.
    pub(super) fn carried(&self) -> Self {
        Self { hits: self.hits().into(), coalesced: self.coalesced().into() }
    }
}

impl RefreshClaim {
    /// Claims the refresh, unless another task has claimed it.
    pub(super) fn take(entry: &Arc<Entry>) -> Option<Self> {
        let was_refreshing = entry.is_refreshing.swap(true, Ordering::AcqRel);
        (!was_refreshing).then(|| Self(Arc::clone(entry)))
    }
}

impl Drop for RefreshClaim {
    fn drop(&mut self) {
        self.0.is_refreshing.store(false, Ordering::Release);
    }
}
