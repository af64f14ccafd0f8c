//! The request and the outcome of a flight: one fetch that any number of callers wait for.

use std::sync::Arc;

use super::entry::Entry;
use super::lookup::{CacheStatus, Lookup};
use crate::error::BrokerError;
use crate::trace::SpanIdentity;

/// Why a flight starts.
#[derive(Debug, Clone)]
pub(super) struct FlightRequest {
    pub(super) lookup: Lookup,
    /// A refresh fetches a newer credential than the cached one, even if that is usable.
    pub(super) is_refresh: bool,
    pub(super) parent_span: Option<SpanIdentity>,
}

/// The result of a flight.
#[derive(Debug)]
pub(super) struct FlightOutcome {
    pub(super) result: Result<Arc<Entry>, BrokerError>,
    pub(super) call: SourceCall,
}

/// Whether a flight called the source.
#[derive(Debug)]
pub(super) enum SourceCall {
    /// Another flight had just cached the credential, or the source must not be called.
    None,
    /// The source was called; with the identity of the call's span, if it is exported.
    Made(Option<SpanIdentity>),
}

impl FlightOutcome {
    /// Returns the outcome of a flight that did not call the source.
    pub(super) fn without_call(result: Result<Arc<Entry>, BrokerError>) -> Self {
        Self { result, call: SourceCall::None }
    }

    /// Returns the status for the flight's leader, or for a caller that was coalesced into it.
    pub(super) fn status(&self, is_leader: bool) -> CacheStatus {
        match (&self.call, is_leader) {
            (_, false) => CacheStatus::Coalesced,
            (SourceCall::Made(_), true) => CacheStatus::Miss,
            (SourceCall::None, true) => self.result.as_ref().map_or(CacheStatus::Hit, |entry| entry.status()),
        }
    }
}
