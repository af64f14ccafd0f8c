//! The accept loop of a listener, and what a connection passes before it is served.

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::Shutdown;
use super::connection::{ConnectionPermit, Connections, Service, serve};
use super::http2::authority::AuthorityRewriter;
use super::listener::{Accepted, Listener};
use crate::authn::{Peer, TcpAuthn, tls};
use crate::limits::{Limits, Origin, RetryAfter};

/// After an error, for it is most often a full file table, and the loop would else spin.
const PAUSE: Duration = Duration::from_millis(100);
/// A peer that connects has this long to finish its handshake. How many are under way is bounded by the connections that it may have: were
/// it by turns, those who say nothing would take the turns of their neighbours.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// All that a new connection needs.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) connections: Connections,
    pub(super) service: Service,
    pub(super) steps: Shutdown,
    /// Authentication on TCP listeners.
    pub(super) authn: TcpAuthn,
    /// How old a connection becomes, about.
    pub(super) age: Duration,
    /// How many handshakes may fail.
    pub(super) limits: Limits,
}

impl Door {
    /// Takes connections until the drain begins; the listener closes with it.
    pub(super) async fn accept(self, listener: Listener, tracker: TaskTracker) {
        let start = |accepted, origin, place| _ = tracker.spawn(self.clone().hold(accepted, origin, place));
        take_connections(listener, &self.connections, &self.steps, start).await;
    }

    async fn hold(self, accepted: Accepted, origin: Origin, place: ConnectionPermit) {
        match accepted {
            Accepted::Unix(stream, peer) => {
                self.serve(stream, Some(AuthorityRewriter::default()), peer.peer(), origin).await;
            }
            Accepted::Tcp(stream, address) => self.serve_tcp(stream, address.ip().to_canonical(), origin).await,
        }
        drop(place);
    }

    async fn serve_tcp(&self, stream: TcpStream, from: IpAddr, origin: Origin) {
        let Some(tls) = &self.authn.tls else {
            return self.serve(stream, None, self.authn.peer(from, None), origin).await;
        };
        if let Err(RetryAfter(wait)) = self.limits.check_origin(origin) {
            return debug!(%from, ?wait, "a connection was closed: too many from there failed to say who they are");
        }
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)) => shaken,
            () = self.steps.drain.cancelled() => return,
        };
        match shaken {
            Ok(Ok((stream, proof))) => return self.serve(stream, None, self.authn.peer(from, proof), origin).await,
            Ok(Err(error)) if tls::is_about_a_certificate(&error) => {
                warn!(%error, %from, "a connection was closed: its client certificate was not taken");
            }
            Ok(Err(error)) => debug!(%error, %from, "a connection was closed: its TLS handshake failed"),
            Err(_) => debug!(%from, "a connection was closed: its TLS handshake took too long"),
        }
        self.limits.record_failure(origin);
    }

    async fn serve<I>(&self, io: I, repair: Option<AuthorityRewriter>, peer: Peer, origin: Origin)
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        serve(io, repair, self.service.clone().for_peer(peer, origin), origin, self.age, &self.steps).await;
    }
}

/// Starts each connection that there is a place for, until the drain begins; the listener closes with it.
pub(super) async fn take_connections(
    listener: Listener,
    connections: &Connections,
    steps: &Shutdown,
    start: impl Fn(Accepted, Origin, ConnectionPermit),
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = steps.drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => {
                if let Some((origin, place)) = admit(&accepted, connections) {
                    start(accepted, origin, place);
                }
            }
            Err(error) => {
                warn!(%error, address = %listener.address(), "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Where a new connection comes from, and its place among those that are kept, if there is one.
fn admit(accepted: &Accepted, connections: &Connections) -> Option<(Origin, ConnectionPermit)> {
    let origin = match accepted {
        Accepted::Tcp(_, address) => Origin::of(address.ip()),
        Accepted::Unix(_, peer) => peer.origin(),
    };
    let place = connections.take(origin);
    if place.is_none() {
        debug!(?origin, "a connection was closed: there are as many as are kept");
    }
    Some((origin, place?))
}
