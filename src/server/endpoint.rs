//! Endpoints, and the one loop that accepts, counts, ages and ends their connections.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;
use tracing::warn;

use super::lifetime::Lifetime;
use super::listener::{Accepted, Listener};
use super::places::{Place, Places};
use super::protocol::Protocol;
use super::proxy_protocol::Proxies;
use super::shutdown::ShutdownStages;
use super::when_woken::WhenWoken;
use crate::address::ListenAddress;

/// Pause after a failed accept. The file table is usually full then, and the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener, the protocol of its connections, and when they drain.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The bound listener.
    pub(crate) listener: Listener,
    /// The protocol of its connections.
    pub(crate) protocol: Arc<dyn Protocol>,
    /// When its connections drain, and by which limits they are counted.
    pub(crate) drain: Drain,
}

/// When an endpoint drains during a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drain {
    /// At once. For endpoints that serve callers; their connections share `max_connections`.
    First,
    /// After every [`Drain::First`] endpoint has drained. For endpoints that observe the broker, such as a readiness probe.
    ///
    /// Their connections take no share of `max_connections`: the broker must stay observable while callers exhaust it.
    Last,
}

/// Endpoints that drain together, and what their connections have in common.
#[derive(Debug, Clone)]
pub(super) struct DrainGroup {
    pub(super) places: Places,
    pub(super) proxies: Proxies,
    pub(super) max_age: Duration,
    pub(super) shutdown: ShutdownStages,
    /// The accept loops.
    pub(super) listeners: TaskTracker,
    pub(super) connections: TaskTracker,
}

impl Endpoint {
    /// The address that it listens on, with the port that the system chose.
    pub(crate) fn address(&self) -> &ListenAddress {
        self.listener.address()
    }

    /// The URL by which clients reach it.
    pub(crate) fn url(&self) -> String {
        match self.address() {
            ListenAddress::Tcp(address) => format!("{}://{address}", self.protocol.scheme()),
            ListenAddress::Unix(path) => format!("{}:{}", self.protocol.unix_scheme(), path.display()),
        }
    }

    /// Accepts connections until the drain starts, which also closes the listener.
    pub(super) async fn accept(self, group: DrainGroup) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = group.shutdown.drain.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok(stream) => group.start(Arc::clone(&self.protocol), stream),
                Err(error) => {
                    warn!(%error, address = %self.address(), "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl DrainGroup {
    /// Starts a connection, or closes it because a limit is reached. One of a proxy counts once its header names the peer.
    fn start(&self, protocol: Arc<dyn Protocol>, stream: Accepted) {
        if protocol.needs_proof() && self.proxies.include(&stream) {
            self.connections.spawn(self.clone().serve_proxied(protocol, stream));
        } else if let Some(place) = self.places.take(&stream, &*protocol) {
            self.connections.spawn(self.serve(protocol, stream, place));
        }
    }

    async fn serve_proxied(self, protocol: Arc<dyn Protocol>, stream: Accepted) {
        let stream = tokio::select! {
            biased;
            () = self.shutdown.drain.cancelled() => return,
            stream = self.proxies.accept(stream) => stream,
        };
        let Some(stream) = stream else { return };
        if let Some(place) = self.places.take(&stream, &*protocol) {
            Box::pin(self.serve(protocol, stream, place)).await;
        }
    }

    /// Serves a connection. No `async fn`: the task would have room for each argument twice.
    fn serve(
        &self,
        protocol: Arc<dyn Protocol>,
        stream: Accepted,
        place: Place,
    ) -> impl Future<Output = ()> + Send + use<> {
        let lifetime = Lifetime::new(self.max_age, self.shutdown.clone(), place.unproved.clone());
        async move {
            let origin = stream.origin();
            let aborted = WhenWoken::new(async {
                tokio::select! {
                    biased;
                    () = lifetime.aborted() => {}
                    () = place.ended() => {}
                }
            });
            tokio::select! {
                biased;
                () = protocol.serve(stream, origin, &lifetime) => {}
                () = aborted => {}
                // It shares its waker with the reads of the connection, so it must be polled after each of these.
                () = lifetime.expired() => {}
            }
        }
    }
}
