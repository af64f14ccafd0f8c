//! Credential sources: the seam between the cache and whatever issues credentials.
//!
//! A source fetches one credential over the network. It neither caches nor coalesces: the cache does both, and calls a source only
//! on a miss or for a refresh. A layer is a source around another source. The module `app` composes the layers:
//! `cache <- Verified(IdentityTokens(Instrumented(SharedCache(AdmissionControl(Measured(Aws))))))`. The settings may leave out the first
//! two and `SharedCache`. With parents, `Route` chooses among this stack and one for each parent,
//! `Instrumented(AdmissionControl(Measured(ParentBroker)))`.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use self::span::FetchSpan;
use crate::caller::Principal;
use crate::credential::{Credential, CredentialId, CredentialKey};
use crate::error::{BrokerError, SourceName, UpstreamError};
use crate::hops::Hops;
use crate::request_id::RequestId;
use crate::trace::SpanIdentity;

pub mod aws;
pub mod broker;
mod caller_proof;
mod failure_labels;
pub mod instrumented;
pub mod measured;
mod metrics;
pub mod progress;
pub mod push;
mod region_status;
pub mod route;
pub mod shared_cache;
pub mod span;
pub mod verified;

pub use self::caller_proof::CallerProof;
pub(crate) use self::failure_labels::failure_labels;
pub use self::metrics::{Metrics, expose_regions};
pub use self::progress::FetchProgress;
pub use self::region_status::RegionStatus;

/// Future that a source returns.
pub type SourceFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Fetches credentials over the network.
pub trait CredentialSource: Debug + Send + Sync {
    /// Returns the source's name and identity. A layer returns those of the source below it.
    fn identity(&self) -> &dyn SourceIdentity;

    /// Fetches a credential. The cache drops the future at the request's deadline.
    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>>;

    /// Returns the state of the calls in each region that was called lately. Makes no call.
    fn regions(&self) -> Vec<RegionStatus>;

    /// Returns the longest time of a fetch, including queueing and retries. Each layer adds its own time to that of the source below
    /// it. The cache derives its fetch timeout from the sum, so a new layer cannot exceed it unnoticed.
    fn fetch_budget(&self) -> Duration;
}

/// A source's name, and the identity that its fetches need. Layers pass it on whole, so that none can forget a part of it: no method
/// of either trait has a default.
pub trait SourceIdentity: Debug + Send + Sync {
    /// Returns the source's name, for errors.
    fn name(&self) -> SourceName;

    /// Returns the status that the last fetch or check found. Makes no call.
    fn status(&self) -> SourceStatus;

    /// Looks for the identity that fetches need, and returns the new status. May take seconds, but fetches no credential.
    fn check(&self) -> SourceFuture<'_, SourceStatus>;

    /// Returns why the last check found no identity, one line for each place where it looked. Contains no secret and none of the
    /// source's own words. Makes no call.
    fn problems(&self) -> Vec<String>;

    /// Returns the expiry of the identity that fetches use; `None`: it is unknown, or there is none. Makes no call.
    fn expires(&self) -> Option<SystemTime>;
}

/// Request for one fetch.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The registry and the profile of the credential.
    pub key: CredentialKey,
    /// Validity that the credential must have left; at least the cache's safety margin. A source that can choose between several
    /// credentials must return one that lasts this long. The cache checks the result.
    pub min_validity: Duration,
    /// The credential that the registry rejected. A source must not return it if it can get another.
    pub rejected: Option<CredentialId>,
    /// The cached credential, if its refresh is due. A source that keeps credentials must return a newer one or an error, so that the
    /// cache knows that its own is stale.
    pub replaces: Option<Arc<Credential>>,
    /// Whether the credential must come from a new role session: the registry refused one of the last session.
    pub new_session: bool,
    /// The caller whose request caused the fetch; `None`: the broker itself. The credential does not depend on it, but on
    /// `proof`.
    pub requester: Option<Principal>,
    /// The caller, if a parent broker decides about it: the credential is for this caller alone.
    pub proof: Option<CallerProof>,
    /// ID of the request that caused the fetch.
    pub request_id: RequestId,
    /// The span of that request, if it is exported.
    pub parent_span: Option<SpanIdentity>,
    /// The brokers that the request passed.
    pub hops: Hops,
    /// Time at which the cache abandons the fetch.
    pub deadline: Instant,
    /// The progress of the fetch, for the callers that wait for it. They may be more than the requester.
    pub progress: FetchProgress,
    /// The span of this fetch, once [`instrumented::Instrumented`] has started it.
    pub span: FetchSpan,
}

/// Why a source returned no credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The source failed.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The queue of the requester's calls is full. The source was not called, so the error says nothing about the key.
    #[error("call queue full")]
    QueueFull {
        /// Delay after which the queue may have room.
        retry_after: Duration,
    },
    /// The source does not serve this request. Another one for the same key may be served at once.
    #[error(transparent)]
    OfRequest(Box<BrokerError>),
}

impl From<FetchError> for BrokerError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Upstream(error) => Self::Upstream(error),
            FetchError::QueueFull { retry_after } => Self::QueueFull { retry_after },
            FetchError::OfRequest(error) => *error,
        }
    }
}

/// Whether a source can fetch, as of its last call or check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceStatus {
    /// The source has an identity to fetch with.
    Ready,
    /// The source has no identity, or has not looked for one yet.
    NoCredentials,
    /// Some of several sources have an identity.
    Partial,
}

impl<S: CredentialSource + ?Sized> CredentialSource for Arc<S> {
    fn identity(&self) -> &dyn SourceIdentity {
        (**self).identity()
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        (**self).fetch(request)
    }

    fn regions(&self) -> Vec<RegionStatus> {
        (**self).regions()
    }

    fn fetch_budget(&self) -> Duration {
        (**self).fetch_budget()
    }
}
