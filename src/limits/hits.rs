//! Metric of the limits that were reached.

use crate::metrics::{Counter, Family, Registry, labels};

labels! {
    /// A limit, by what it bounds.
    pub enum LimitName: "limit" {
        /// Rate of one caller's requests.
        CallerRate = "caller_request_rate",
        /// Requests of one caller in flight.
        CallerRequests = "caller_requests_in_flight",
        /// Requests in flight.
        Requests = "requests_in_flight",
        /// Registries that one caller watches.
        CallerWatches = "caller_watches",
        /// Watched registries.
        Watches = "watches",
        /// Memory of one caller's watches.
        CallerWatchBytes = "caller_watch_bytes",
        /// Memory of all watches.
        WatchBytes = "watch_bytes",
        /// Failed authentications of one origin.
        FailedAuthentications = "failed_authentications",
        /// Connections of one kind of listener.
        Connections = "connections",
        /// Connections from one address.
        ConnectionsPerAddress = "connections_per_address",
        /// Connections of one user.
        ConnectionsPerUid = "connections_per_uid",
        /// Connections without a proof.
        UnprovedConnections = "unproved_connections",
        /// Memory of the calls on connections without a proof.
        UnprovedMemory = "unproved_memory",
        /// Memory of unanswered requests.
        RequestMemory = "request_memory",
        /// Callers that wait for a fetch.
        Waiters = "waiting_callers",
        /// Watched keys.
        WatchedKeys = "watched_credentials",
        /// Cached credentials of one caller.
        CallerCredentials = "caller_credentials",
        /// Cached credentials of all single callers.
        SingleCallerCredentials = "single_caller_credentials",
        /// Queued upstream calls of a requester, or of a region.
        UpstreamQueue = "upstream_queue",
    }
}

/// Counts each time that a limit was reached. A clone is a handle of the same counts.
#[derive(Debug, Clone)]
pub struct LimitHits(Family<LimitName, Counter>);

impl LimitHits {
    /// Registers the counts.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        Self(registry.counters("ecr_broker_limit_hits_total", "Requests or connections refused or ended by a limit"))
    }

    /// Counts one hit.
    pub fn count(&self, limit: LimitName) {
        self.0.with(limit).inc();
    }
}
