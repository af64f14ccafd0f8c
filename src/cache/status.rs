//! The state of the cache and its source, for listings, watches and health.

use std::panic::AssertUnwindSafe;
use std::time::SystemTime;

use futures_util::FutureExt as _;
use tracing::error;

use super::CredentialCache;
use super::entry::Entry;
use super::lookup::{Lookup, RefreshState};
use super::scope::{Cached, OwnKeys, Scope};
use crate::credential::{CredentialKey, Lifetime, ProfileName};
use crate::registry::Registry;
use crate::source::{RegionStatus, SourceStatus};

impl CredentialCache {
    /// Returns the state of a key's refresh.
    pub async fn refresh_state(&self, lookup: &Lookup) -> RefreshState {
        let now = self.shared.now();
        let failure = self.shared.backoff.check(&lookup.key, now).await.err();
        let entry = self.shared.store.get(&lookup.key).await;
        let due_in = entry.map(|entry| {
            let too_short_in = entry.credential.remaining(now).saturating_sub(self.shared.needed(lookup));
            entry.due_in(now).min(too_short_in)
        });
        RefreshState { failure, due_in: due_in.filter(|due_in| !due_in.is_zero()) }
    }

    /// Returns the first `limit` cached credentials of a scope that last longer than the safety margin and that `may_list` accepts,
    /// in the order of their hosts and profiles. Makes no call.
    #[must_use]
    pub fn cached_in(
        &self,
        scope: &Scope<'_>,
        limit: usize,
        may_list: impl Fn(&Registry, &ProfileName, Option<Lifetime>) -> bool,
    ) -> Vec<Cached> {
        let (now, margin) = (self.shared.now(), self.shared.settings.safety_margin);
        self.shared.store.index.walk(scope, limit, |registry, (profile, lifetime), entry| {
            entry.credential.remaining(now) >= margin && may_list(registry, profile, lifetime)
        })
    }

    /// Returns the lifetimes and expiries of a registry's cached credentials for a caller that last longer than the safety margin.
    #[must_use]
    pub fn cached_expiries(
        &self,
        registry: &Registry,
        profile: &ProfileName,
        own: &OwnKeys,
    ) -> Vec<(Option<Lifetime>, SystemTime)> {
        let (now, margin) = (self.shared.now(), self.shared.settings.safety_margin);
        let is_usable = |entry: &Entry| entry.credential.remaining(now) >= margin;
        self.shared.store.index.expiries(registry, profile, own, is_usable)
    }

    /// Returns whether a key's credential is cached and lasts longer than the safety margin. Makes no call.
    pub async fn has(&self, key: &CredentialKey) -> bool {
        let (now, margin) = (self.shared.now(), self.shared.settings.safety_margin);
        self.shared.store.get(key).await.is_some_and(|entry| entry.credential.remaining(now) >= margin)
    }

    /// Returns the number of cached credentials.
    #[must_use]
    pub fn cached_count(&self) -> usize {
        self.shared.store.index.len()
    }

    /// Returns whether callers can be served: the source reports that it is ready, or a usable credential is cached.
    #[must_use]
    pub fn can_serve(&self) -> bool {
        let (now, margin) = (self.shared.now(), self.shared.settings.safety_margin);
        let is_usable = |entry: &Entry| entry.check(margin, None, now).is_ok();
        self.source_status() != SourceStatus::NoCredentials || self.shared.store.index.has(is_usable)
    }

    /// Returns the status that the source reports.
    #[must_use]
    pub fn source_status(&self) -> SourceStatus {
        self.shared.source.identity().status()
    }

    /// Returns the state of the source's calls in each region.
    #[must_use]
    pub fn regions(&self) -> Vec<RegionStatus> {
        self.shared.source.regions()
    }

    /// Returns the expiry of the identity that fetches use, if it is known.
    #[must_use]
    pub fn identity_expires(&self) -> Option<SystemTime> {
        self.shared.source.identity().expires()
    }

    /// Returns the number of callers that wait for fetches, watches included.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.total() + self.watch_waiters.total()
    }

    /// Returns why the source has no identity; empty if it has one.
    #[must_use]
    pub fn identity_problems(&self) -> Vec<String> {
        if self.source_status() == SourceStatus::Ready { Vec::new() } else { self.shared.source.identity().problems() }
    }

    /// Lets the source update its status, such as after AWS credentials appeared. A panic in the source is logged.
    pub async fn check_source(&self) {
        if AssertUnwindSafe(self.shared.source.identity().check()).catch_unwind().await.is_err() {
            error!("source check panicked");
        }
    }
}
