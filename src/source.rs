//! Credential sources: the seam between the cache and whatever issues credentials.
//!
//! A source fetches one credential over the network. It neither caches nor coalesces: the cache does both, and calls a source only
//! when it has nothing to serve. Layers are sources around another source. The module `app` composes them:
//! `cache <- Instrumented(AdmissionControl(Aws))`.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::span::FetchSpan;
use crate::caller::Principal;
use crate::credential::{Credential, CredentialId, CredentialKey};
use crate::error::{BrokerError, SourceName, UpstreamError};
use crate::request_id::RequestId;
use crate::trace::SpanIdentity;

pub mod aws;
pub mod instrumented;
pub mod span;

/// The future of a source's answer.
pub type SourceFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Issues credentials, over the network.
pub trait CredentialSource: Debug + Send + Sync {
    /// Returns the source's name, for errors.
    fn name(&self) -> SourceName;

    /// Fetches a credential. The cache drops the future at the request's deadline.
    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>>;

    /// Returns the status that the last fetch or check found. Makes no call.
    fn status(&self) -> SourceStatus;

    /// Looks again for what the source needs to fetch, and returns the new status. May take seconds, but fetches nothing.
    fn check(&self) -> SourceFuture<'_, SourceStatus> {
        Box::pin(std::future::ready(self.status()))
    }

    /// Returns the longest time that a fetch takes, with all waiting and retries. A layer that waits adds its own time, so the
    /// cache's fetch timeout follows from the composition.
    fn fetch_budget(&self) -> Duration;
}

/// The facts of one fetch.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The registry and the profile of the credential.
    pub key: CredentialKey,
    /// The remaining validity that the caller needs, at least the cache's safety margin. A source that has a choice of credentials
    /// returns one that lasts this long. The cache judges the answer itself.
    pub min_validity: Duration,
    /// The credential that the registry rejected. A source must not return it if it can get another.
    pub rejected: Option<CredentialId>,
    /// The caller whose request caused the fetch; `None`: the broker itself. The credential does not depend on it.
    pub requester: Option<Principal>,
    /// ID of the request that caused the fetch.
    pub request_id: RequestId,
    /// The span of that request, if it is exported.
    pub parent_span: Option<SpanIdentity>,
    /// The end of the fetch: the cache abandons it then.
    pub deadline: Instant,
    /// The span of this fetch, once [`instrumented::Instrumented`] has started it.
    pub span: FetchSpan,
}

/// Why a source returned no credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The source failed.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The source was not called: too many calls of the same requester were queued. Nothing is known of the key.
    #[error("call queue full")]
    QueueFull {
        /// Delay after which the queue may have room.
        retry_after: Duration,
    },
}

impl From<FetchError> for BrokerError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Upstream(error) => Self::Upstream(error),
            FetchError::QueueFull { retry_after } => Self::QueueFull { retry_after },
        }
    }
}

/// Whether a source can fetch at all, as far as it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceStatus {
    /// The source has an identity to fetch with.
    Ready,
    /// The source has no identity, or has not looked yet.
    NoCredentials,
}

impl<S: CredentialSource + ?Sized> CredentialSource for Arc<S> {
    fn name(&self) -> SourceName {
        (**self).name()
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        (**self).fetch(request)
    }

    fn status(&self) -> SourceStatus {
        (**self).status()
    }

    fn check(&self) -> SourceFuture<'_, SourceStatus> {
        (**self).check()
    }

    fn fetch_budget(&self) -> Duration {
        (**self).fetch_budget()
    }
}
