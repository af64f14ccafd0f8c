//! Routing: which source serves a credential. The first parent that covers the registry and profile is asked; the rest goes to AWS.
//!
//! AWS is asked instead of a parent only where that is configured, and only while the parent does not answer at all. What a parent
//! answers is final: a denial must not be repeated elsewhere.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tracing::warn;

use self::parent::Parent;
use super::broker::Settings;
use super::span::record_failure;
use super::{CredentialSource, FetchError, FetchRequest, RegionStatus, SourceFuture, SourceIdentity, SourceStatus};
use crate::credential::Credential;
use crate::error::{FailureClass, SourceName, UpstreamError};

mod parent;

/// The sources of a broker with parents.
#[derive(Debug)]
pub struct Route {
    parents: Vec<Parent>,
    /// AWS, unless the parents serve everything.
    aws: Option<Arc<dyn CredentialSource>>,
}

impl Route {
    /// Routes to `parents`, in this order, and to `aws`.
    #[must_use]
    pub fn new(parents: Vec<(Settings, Arc<dyn CredentialSource>)>, aws: Option<Arc<dyn CredentialSource>>) -> Self {
        let parent = |(settings, source)| Parent::new(settings, source);
        Self { parents: parents.into_iter().map(parent).collect(), aws }
    }

    async fn fetch_routed(&self, request: &FetchRequest) -> Result<Credential, FetchError> {
        let parent = self.parents.iter().find(|parent| parent.settings.covers(&request.key));
        match (parent, &self.aws) {
            (Some(parent), aws) => parent.fetch(request, aws.as_ref()).await,
            (None, Some(aws)) => aws.fetch(request).await,
            (None, None) => {
                let (registry, profile) = (request.key.registry.host(), &request.key.profile);
                warn!(registry, %profile, "no parent serves the registry and profile; correct [[parents]]");
                record_failure(FailureClass::Misconfigured);
                Err(UpstreamError::new(self.name(), FailureClass::Misconfigured).into())
            }
        }
    }

    fn sources(&self) -> impl Iterator<Item = &Arc<dyn CredentialSource>> {
        self.parents.iter().map(|parent| &parent.source).chain(&self.aws)
    }
}

impl CredentialSource for Route {
    fn identity(&self) -> &dyn SourceIdentity {
        self
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        Box::pin(self.fetch_routed(request))
    }

    fn regions(&self) -> Vec<RegionStatus> {
        self.sources().flat_map(super::CredentialSource::regions).collect()
    }

    fn fetch_budget(&self) -> Duration {
        let aws = self.aws.as_ref().map(super::CredentialSource::fetch_budget).unwrap_or_default();
        self.parents.iter().map(|parent| parent.fetch_budget(aws)).fold(aws, Duration::max)
    }
}

/// The identities of all sources together.
impl SourceIdentity for Route {
    /// Returns AWS, or the first parent: failures that concern no single source are named by it.
    fn name(&self) -> SourceName {
        match (&self.aws, self.parents.first()) {
            (None, Some(parent)) => parent.source.identity().name(),
            _ => SourceName::Aws,
        }
    }

    fn status(&self) -> SourceStatus {
        let is_ready = |source: &Arc<dyn CredentialSource>| source.identity().status() == SourceStatus::Ready;
        match (self.sources().any(is_ready), self.sources().all(is_ready)) {
            (_, true) => SourceStatus::Ready,
            (true, false) => SourceStatus::Partial,
            (false, false) => SourceStatus::NoCredentials,
        }
    }

    fn check(&self) -> SourceFuture<'_, SourceStatus> {
        Box::pin(async {
            let missing = self.sources().filter(|source| source.identity().status() != SourceStatus::Ready);
            join_all(missing.map(|source| source.identity().check())).await;
            self.status()
        })
    }

    fn problems(&self) -> Vec<String> {
        let missing = self.sources().filter(|source| source.identity().status() != SourceStatus::Ready);
        missing.flat_map(|source| source.identity().problems()).collect()
    }

    fn expires(&self) -> Option<SystemTime> {
        self.sources().filter_map(|source| source.identity().expires()).min()
    }
}

#[cfg(test)]
mod tests;
