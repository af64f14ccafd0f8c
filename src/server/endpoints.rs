//! The endpoints of a server, from their accept loops to the end of their last connection.

use std::time::Duration;

use tokio_util::task::TaskTracker;
use tracing::info;

use super::connection_limits::{ConnectionLimits, Limit};
use super::endpoint::{Drain, DrainGroup, Endpoint};
use super::places::Places;
use super::proxy_protocol::Proxies;
use super::settings::Settings;
use super::shutdown::ShutdownStages;
use crate::limits::{ConnectionsStatus, LimitHits, UnprovedConnections};
use crate::metrics::Registry;

/// TCP connections of the endpoints that drain last. From three quarters of it on, each new one ends an old one, so that a peer that
/// holds connections cannot keep the probes out. A few probes and scrapers need no more, but a probe must be answered before a flood
/// from its own address has ended all that are older.
const MAX_OBSERVERS: usize = 256;
/// Connections of one user to their Unix sockets.
const MAX_OBSERVERS_PER_UID: usize = 32;
/// The same connections in total, with those that were ended and have not closed yet: a burst is accepted before they do.
pub(crate) const MAX_OBSERVERS_OPEN: usize = 2 * MAX_OBSERVERS;

/// Endpoints that accept connections, in two groups: one drains first, the other last.
#[derive(Debug)]
pub(crate) struct Server {
    first: DrainGroup,
    last: DrainGroup,
}

/// The places of all connections.
#[derive(Debug)]
pub(crate) struct Connections {
    first: Places,
    last: Places,
}

impl Connections {
    /// Applies the limits of `settings`, and registers the numbers of open connections.
    pub(crate) fn new(
        settings: &Settings,
        unproved: &UnprovedConnections,
        hits: &LimitHits,
        registry: &mut Registry,
    ) -> Self {
        let first = Places::new(ConnectionLimits::of(settings), unproved.clone(), hits);
        let last = Places::new(observers(), unproved.apart(MAX_OBSERVERS), hits);
        let (callers, observers) = (first.clone(), last.clone());
        registry.on_scrape(move |scrape| {
            let of_ops = observers.open().into_iter().map(|(_, _, open)| open).sum();
            let ops = [("ops", "proved", of_ops)];
            let open = callers.open().into_iter().chain(ops);
            let open = open.map(|(listener, state, open)| ([("listener", listener), ("state", state)], open));
            scrape.gauges("ecr_broker_connections", "Open connections", open)
        });
        Self { first, last }
    }
}

impl Server {
    /// Starts to accept connections on every endpoint. The endpoints that drain first go through the stages of `shutdown`.
    pub(crate) fn start(
        endpoints: Vec<Endpoint>,
        settings: &Settings,
        Connections { first, last }: Connections,
        shutdown: ShutdownStages,
    ) -> Self {
        let group = |places, proxies, shutdown| DrainGroup {
            places,
            proxies: Proxies::new(proxies),
            max_age: settings.max_connection_age,
            shutdown,
            listeners: TaskTracker::new(),
            connections: TaskTracker::new(),
        };
        let server = Self {
            first: group(first, settings.proxy_protocol_from.clone(), shutdown),
            // Probes come straight, without the header of a proxy.
            last: group(last, Vec::new(), ShutdownStages::default()),
        };
        for endpoint in endpoints {
            let group = server.group(endpoint.drain);
            group.listeners.spawn(endpoint.accept(group.clone()));
        }
        server
    }

    /// Returns a function that counts the open connections of callers.
    pub(crate) fn connections(&self) -> impl Fn() -> ConnectionsStatus + Clone + Send + Sync + use<> {
        let places = self.first.places.clone();
        move || places.status()
    }

    /// Returns the number of open connections of one group.
    pub(crate) fn open_connections(&self, drain: Drain) -> usize {
        self.group(drain).connections.len()
    }

    /// Drains one group of endpoints: lets requests in flight finish until `timeout`, then forces them to end.
    pub(crate) async fn drain(&self, drain: Drain, timeout: Duration) {
        let DrainGroup { shutdown, listeners, connections, .. } = self.group(drain);
        // Before the drain ends idle connections.
        if !connections.is_empty() {
            info!(connections = connections.len(), "drain started");
        }
        shutdown.drain.cancel();
        listeners.close();
        listeners.wait().await;
        shutdown.run(connections, timeout).await;
    }

    fn group(&self, drain: Drain) -> &DrainGroup {
        match drain {
            Drain::First => &self.first,
            Drain::Last => &self.last,
        }
    }
}

fn observers() -> ConnectionLimits {
    let [all, of_uid] = [MAX_OBSERVERS_OPEN, MAX_OBSERVERS_PER_UID].map(Limit::fixed);
    ConnectionLimits { total: all, per_address: all, per_uid: of_uid }
}

#[cfg(test)]
mod tests;
