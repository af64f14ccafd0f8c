//! Errors of exceeded limits, and their retry delays.

use std::time::Duration;

use super::hits::LimitName;
use crate::error::BrokerError;
use crate::jitter;

/// Retry delay of a limit whose recovery time is unknown.
pub(super) const DEFAULT_DELAY: Duration = Duration::from_secs(1);

/// A resource with a limit per caller and a global one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Requests in flight, and the rate of requests.
    InFlight,
    /// Watched registries.
    Watches,
    /// Memory of watches, in bytes.
    WatchBytes,
}

/// An exceeded limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitExceeded {
    /// The caller exceeds its own limit.
    PerCaller(Resource, RetryAfter),
    /// All callers together exceed the limit of the broker.
    Global(Resource, RetryAfter),
}

/// The delay after which a retry may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter(pub Duration);

impl LimitExceeded {
    /// Returns the limit's name in metrics. That of a caller's rate is known where it is checked.
    pub(super) fn limit(&self) -> LimitName {
        match self {
            Self::PerCaller(Resource::InFlight, _) => LimitName::CallerRequests,
            Self::PerCaller(Resource::Watches, _) => LimitName::CallerWatches,
            Self::PerCaller(Resource::WatchBytes, _) => LimitName::CallerWatchBytes,
            Self::Global(Resource::InFlight, _) => LimitName::Requests,
            Self::Global(Resource::Watches, _) => LimitName::Watches,
            Self::Global(Resource::WatchBytes, _) => LimitName::WatchBytes,
        }
    }
}

impl RetryAfter {
    /// Returns one to two times the delay, at random: callers that are rejected together must not retry together.
    pub(super) fn spread(delay: Duration) -> Self {
        Self(jitter::at_least(delay, 1.0))
    }

    /// Returns the same with a longer delay.
    pub(super) fn later_by(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

impl From<LimitExceeded> for BrokerError {
    fn from(exceeded: LimitExceeded) -> Self {
        match exceeded {
            LimitExceeded::PerCaller(resource, RetryAfter(retry_after)) => {
                let what = match resource {
                    Resource::InFlight => "too many requests by this caller",
                    Resource::Watches => "too many registries watched by this caller",
                    Resource::WatchBytes => "too much memory taken by the watches of this caller",
                };
                Self::CallerRateLimited { what, retry_after }
            }
            LimitExceeded::Global(resource, RetryAfter(retry_after)) => {
                Self::Overloaded { resource: resource.name(), retry_after }
            }
        }
    }
}

impl Resource {
    /// Returns the name in errors and log lines.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::InFlight => "requests in flight",
            Self::Watches => "watched registries",
            Self::WatchBytes => "bytes of watches",
        }
    }
}
