//! Request and outcome of a flight: one fetch for all callers that wait for its key.

use std::sync::Arc;

use super::entry::Entry;
use super::lookup::{CacheStatus, Lookup};
use crate::error::BrokerError;
use crate::trace::SpanIdentity;

/// Request for a flight.
#[derive(Debug, Clone)]
pub(super) struct FlightRequest {
    pub(super) lookup: Lookup,
    /// Whether to fetch even if the cached credential is usable, once it is due.
    pub(super) is_refresh: bool,
    pub(super) parent_span: Option<SpanIdentity>,
}

/// Outcome of a flight.
#[derive(Debug)]
pub(super) struct FlightOutcome {
    pub(super) result: Result<Arc<Entry>, BrokerError>,
    pub(super) call: SourceCall,
}

/// Whether a flight called the source.
#[derive(Debug)]
pub(super) enum SourceCall {
    /// The source was not called: another flight had cached a credential, or a backoff forbade the call.
    None,
    /// The source was called. Contains the identity of the call's span, if the span is exported.
    Made(Option<SpanIdentity>),
}

impl FlightOutcome {
    /// Returns the outcome of a flight that did not call the source.
    pub(super) fn without_call(result: Result<Arc<Entry>, BrokerError>) -> Self {
        Self { result, call: SourceCall::None }
    }

    /// Returns the cache status for the flight's leader, or for a coalesced caller.
    pub(super) fn status(&self, is_leader: bool) -> CacheStatus {
        match (&self.call, is_leader) {
            (_, false) => CacheStatus::Coalesced,
            (SourceCall::Made(_), true) => CacheStatus::Miss,
            (SourceCall::None, true) => self.result.as_ref().map_or(CacheStatus::Hit, |entry| entry.status()),
        }
    }
}
