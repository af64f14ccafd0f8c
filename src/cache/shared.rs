//! State that lookups and fetches share.

use std::sync::Arc;
use std::time::Duration;

use super::backoff::FetchBackoff;
use super::entry::{Entry, Unusable};
use super::lookup::Lookup;
use super::metrics::Metrics;
use super::settings::Settings;
use super::store::Store;
use super::subscriptions::Subscriptions;
use crate::clock::Clock;
use crate::error::{BrokerError, FailureClass, UpstreamError};
use crate::moment::Moment;
use crate::source::CredentialSource;

/// State that lookups and fetches share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) source: Arc<dyn CredentialSource>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) store: Store,
    pub(super) backoff: FetchBackoff,
    pub(super) subscriptions: Subscriptions,
    pub(super) metrics: Metrics,
}

impl Shared {
    pub(super) fn new(
        settings: Settings,
        source: Arc<dyn CredentialSource>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        Self {
            store: Store::new(settings.capacity, &clock, &metrics),
            backoff: FetchBackoff::new(settings.capacity),
            subscriptions: Subscriptions::new(settings.capacity, metrics.limit_hits.clone()),
            metrics,
            settings,
            source,
            clock,
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Returns the validity that the lookup needs, at least the safety margin (P3).
    pub(super) fn needed(&self, lookup: &Lookup) -> Duration {
        lookup.min_validity.max(self.settings.safety_margin)
    }

    /// Checks that an entry meets the lookup.
    pub(super) fn check(&self, entry: &Entry, lookup: &Lookup) -> Result<(), Unusable> {
        entry.check(self.needed(lookup), lookup.rejected, self.now())
    }

    /// Checks that the rejected credential may be replaced now.
    pub(super) async fn check_replacement(&self, lookup: &Lookup) -> Result<(), BrokerError> {
        let rejected_again = self.failure(FailureClass::InvalidResponse);
        self.backoff.check_replacement(&lookup.key, self.now(), rejected_again).await
    }

    /// Returns an upstream error for a failure that the cache detected, such as a timeout.
    pub(super) fn failure(&self, class: FailureClass) -> BrokerError {
        UpstreamError::new(self.source.identity().name(), class).into()
    }

    /// Returns the error of a source that did not answer in time.
    pub(super) fn unanswered(&self) -> BrokerError {
        UpstreamError::unanswered(self.source.identity().name()).into()
    }
}
