//! Places of connections, apart for each kind of peer: peers on the network cannot take those of this host.

use super::connection_limits::{ConnectionCounter, ConnectionLimits, ConnectionPermit};
use super::listener::Accepted;
use super::protocol::Protocol;
use crate::limits::{ConnectionsStatus, LimitHits, Unproved, UnprovedConnections};

/// The places of the connections that drain together. A clone is a handle of the same.
#[derive(Debug, Clone)]
pub(super) struct Places {
    tcp: ConnectionCounter,
    unix: ConnectionCounter,
    ecr_api: ConnectionCounter,
    unproved: UnprovedConnections,
}

/// The place of a connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    permit: ConnectionPermit,
    /// The limits of the connection until its peer proves who it is.
    pub(super) unproved: Option<Unproved>,
}

impl Place {
    /// Completes when the connection must make room for another one.
    pub(super) async fn ended(&self) {
        self.permit.ended().await;
    }
}

impl Places {
    /// Applies `limits` to each kind.
    pub(super) fn new(limits: ConnectionLimits, unproved: UnprovedConnections, hits: &LimitHits) -> Self {
        let counter = || ConnectionCounter::new(limits, hits.clone());
        Self { tcp: counter(), unix: counter(), ecr_api: counter(), unproved }
    }

    /// Returns the open connections of each kind.
    pub(super) fn status(&self) -> ConnectionsStatus {
        ConnectionsStatus { tcp: self.tcp.used(), unix: self.unix.used(), aws_api: self.ecr_api.used() }
    }

    /// Returns the numbers of open connections, by listener and state.
    pub(super) fn open(&self) -> [(&'static str, &'static str, usize); 4] {
        let (ConnectionsStatus { tcp, unix, aws_api }, unproved) = (self.status(), self.unproved.used().used);
        [
            ("tcp", "proved", tcp.used.saturating_sub(unproved)),
            ("tcp", "unproved", unproved),
            ("unix", "proved", unix.used),
            ("aws_api", "proved", aws_api.used),
        ]
    }

    /// Takes a place; none, and a log line, if a limit is reached.
    pub(super) fn take(&self, stream: &Accepted, protocol: &dyn Protocol) -> Option<Place> {
        let origin = stream.origin();
        let must_prove = matches!(stream, Accepted::Tcp(..)) && protocol.needs_proof();
        let counter = match stream {
            Accepted::Unix(..) => &self.unix,
            Accepted::Tcp(..) if must_prove => &self.tcp,
            Accepted::Tcp(..) => &self.ecr_api,
        };
        let permit = counter.acquire(origin)?;
        Some(Place { permit, unproved: must_prove.then(|| self.unproved.enter(origin)) })
    }
}
