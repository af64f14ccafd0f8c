//! The endpoints of a server, from their accept loops to the end of their last connection.

use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::connection_limits::{ConnectionLimits, Limit};
use super::endpoint::{Drain, DrainGroup, Endpoint};
use super::places::Places;
use super::proxy_protocol::Proxies;
use super::settings::Settings;
use super::shutdown::ShutdownStages;
use crate::limits::UnprovedConnections;

/// Connections of the endpoints that drain last, in total and from one origin. A few probes and scrapers need no more.
const MAX_OBSERVERS: usize = 64;

/// Endpoints that accept connections, in two groups: one drains first, the other last.
#[derive(Debug)]
pub(crate) struct Server {
    first: DrainGroup,
    last: DrainGroup,
}

impl Server {
    /// Starts to accept connections on every endpoint. The endpoints that drain first go through the stages of `shutdown`.
    pub(crate) fn start(
        endpoints: Vec<Endpoint>,
        settings: &Settings,
        unproved: &UnprovedConnections,
        shutdown: ShutdownStages,
    ) -> Self {
        let proxies = Proxies::new(settings.proxy_protocol_from.clone());
        let group = |limits, shutdown| DrainGroup {
            places: Places::new(limits, unproved.clone()),
            proxies: proxies.clone(),
            max_age: settings.max_connection_age,
            shutdown,
            tasks: TaskTracker::new(),
        };
        let observers = Limit::fixed(MAX_OBSERVERS);
        let observers = ConnectionLimits { total: observers, per_address: observers, per_uid: observers };
        let server = Self {
            first: group(ConnectionLimits::of(settings), shutdown),
            last: group(observers, ShutdownStages::default()),
        };
        for endpoint in endpoints {
            let group = server.group(endpoint.drain);
            group.tasks.spawn(endpoint.accept(group.clone()));
        }
        server
    }

    /// Drains one group of endpoints: lets requests in flight finish until `timeout`, then forces them to end.
    pub(crate) async fn drain(&self, drain: Drain, timeout: Duration) {
        let DrainGroup { shutdown, tasks, .. } = self.group(drain);
        shutdown.run(tasks, timeout).await;
    }

    fn group(&self, drain: Drain) -> &DrainGroup {
        match drain {
            Drain::First => &self.first,
            Drain::Last => &self.last,
        }
    }
}

#[cfg(test)]
mod tests;
