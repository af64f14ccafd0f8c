//! Metrics layer: measures each call to the source below it.

use std::time::Duration;

use super::metrics::{CallResult, Metrics, Service};
use super::{CredentialSource, FetchError, FetchRequest, RegionStatus, SourceFuture, SourceStatus};
use crate::credential::Credential;
use crate::error::SourceName;

/// A layer that measures calls. It belongs below admission control, so that the time in the queue does not count.
#[derive(Debug)]
pub struct Measured<S> {
    source: S,
    metrics: Metrics,
}

impl<S: CredentialSource> Measured<S> {
    /// Wraps `source`.
    #[must_use]
    pub fn new(source: S, metrics: Metrics) -> Self {
        Self { source, metrics }
    }
}

impl<S: CredentialSource> CredentialSource for Measured<S> {
    fn name(&self) -> SourceName {
        self.source.name()
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        Box::pin(async {
            let call = self.metrics.begin(self.name(), Service::of(&request.key.registry));
            let result = self.source.fetch(request).await;
            call.end(CallResult::of(&result));
            result
        })
    }

    fn status(&self) -> SourceStatus {
        self.source.status()
    }

    fn check(&self) -> SourceFuture<'_, SourceStatus> {
        self.source.check()
    }

    fn identity_problems(&self) -> Vec<String> {
        self.source.identity_problems()
    }

    fn regions(&self) -> Vec<RegionStatus> {
        self.source.regions()
    }

    fn fetch_budget(&self) -> Duration {
        self.source.fetch_budget()
    }
}
