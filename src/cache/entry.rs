//! One held credential, and what it is still good for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::CacheStatus;
use crate::credential::{Credential, CredentialId};
use crate::jitter;
use crate::moment::Moment;

/// Callers are not told to come back sooner, or a refresh that fails would have every client ask in a loop.
const SOONEST_RETURN: Duration = Duration::from_mins(1);

/// A credential and the state of its refresh.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) credential: Arc<Credential>,
    refresh_at: Moment,
    refreshing: AtomicBool,
    stale: AtomicBool,
}

/// The right to refresh an entry, which one of those who ask for it has at a time.
#[derive(Debug)]
pub(super) struct RefreshClaim(Arc<Entry>);

/// Why a held credential does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// The registry refused it.
    Rejected,
    /// It ends too soon; a new one would last longer.
    TooShort,
    /// It ends too soon, and so it did when it was new, a moment ago.
    Unreachable,
}

impl Entry {
    /// The refresh time gets its jitter here, once: with new jitter at every read, an entry could be due and then not due. Entries
    /// that were fetched together are thus not refreshed together.
    pub(super) fn new(credential: Credential, refresh_after: Duration) -> Self {
        let refresh_after = jitter::around(refresh_after.min(credential.lifetime() / 2));
        Self {
            refresh_at: credential.issued().after(refresh_after),
            credential: Arc::new(credential),
            refreshing: AtomicBool::new(false),
            stale: AtomicBool::new(false),
        }
    }

    /// Whether it lasts as long as `needed` and is not the one that was `rejected`.
    pub(super) fn judge(&self, needed: Duration, rejected: Option<CredentialId>, now: Moment) -> Result<(), Unusable> {
        let remaining = self.credential.remaining(now);
        if rejected == Some(self.credential.id()) {
            Err(Unusable::Rejected)
        } else if remaining >= needed && !remaining.is_zero() {
            Ok(())
        } else if needed > self.credential.lifetime() && !self.is_due(now) {
            Err(Unusable::Unreachable)
        } else {
            Err(Unusable::TooShort)
        }
    }

    /// Whether it should be refreshed.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.due_in(now).is_zero()
    }

    /// How long until it should be.
    pub(super) fn due_in(&self, now: Moment) -> Duration {
        now.until(self.refresh_at)
    }

    /// What it is for a caller that finds it: a hit, and stale where the last refresh failed.
    pub(super) fn status(&self) -> CacheStatus {
        if self.stale.load(Ordering::Relaxed) { CacheStatus::Stale } else { CacheStatus::Hit }
    }

    /// The last refresh failed.
    pub(super) fn mark_stale(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }

    /// How long from now a caller should ask again.
    pub(super) fn ask_again_after(&self, now: Moment) -> Duration {
        self.due_in(now).max(SOONEST_RETURN).min(self.credential.remaining(now))
    }
}

impl RefreshClaim {
    pub(super) fn take(entry: &Arc<Entry>) -> Option<Self> {
        let taken = entry.refreshing.swap(true, Ordering::AcqRel);
        (!taken).then(|| Self(Arc::clone(entry)))
    }
}

impl Drop for RefreshClaim {
    fn drop(&mut self) {
        self.0.refreshing.store(false, Ordering::Release);
    }
}
