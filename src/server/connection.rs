//! Connections: how many there may be, and the life of each.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{MissedTickBehavior, interval};
use tonic::service::Routes;
use tracing::{debug, info};

use super::drain_streams::Ending;
use super::http2::authority::AuthorityRewriter;
use super::http2::body::Exchange;
use super::http2::peer_stream::PeerStream;
use super::http2::peer_watchdog::{self, PeerWatchdog};
use super::{Settings, Shutdown};
use crate::api::grpc::middleware::MiddlewareService;
use crate::limits::Origin;

/// All that a connection's requests go to.
pub(super) type Service = MiddlewareService<Ending<Routes>>;

/// Requests in flight on one connection.
const MAX_STREAMS: u32 = 100;
/// The names and values of a request's headers in all; a bearer token may take 8 KiB of it.
const MAX_HEADERS: u32 = 16 * 1024;
/// A peer that connects has this long to begin.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that has gone without a word is found out after these two.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Of an answer, beside the message itself.
const SEND_BUFFER: usize = 16 * 1024;
/// What a peer may send before it is read, in one call and in all: two of the largest requests, and four.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// How many connections are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    all: usize,
    address: usize,
    uid: usize,
}

/// The connections there are, counted.
#[derive(Debug, Clone)]
pub(super) struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    peers: HashMap<Origin, usize>,
}

/// A connection's place among those that are kept; given back when it goes.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    inner: Arc<Inner>,
    peer: Origin,
}

impl Limits {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            all: settings.max_connections,
            address: settings.max_connections_per_address,
            uid: settings.max_connections_per_uid,
        }
    }

    fn of_one(&self, peer: Origin) -> usize {
        match peer {
            Origin::Network(_) | Origin::AwsApi => self.address,
            Origin::Uid(_) => self.uid,
        }
    }
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Inner { limits, counts: Mutex::default() }))
    }

    /// A place for one more connection of this peer's, if there is one.
    pub(super) fn take(&self, peer: Origin) -> Option<ConnectionPermit> {
        let Inner { limits, counts } = &*self.0;
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = counts.peers.get(&peer).copied().unwrap_or_default();
        if counts.all >= limits.all || of_peer >= limits.of_one(peer) {
            return None;
        }
        counts.all += 1;
        counts.peers.insert(peer, of_peer + 1);
        Some(ConnectionPermit { inner: Arc::clone(&self.0), peer })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut counts = self.inner.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        if let Some(count) = counts.peers.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.peers.remove(&self.peer);
            }
        }
    }
}

/// Serves one connection to its end: the peer's, that of its age or of the drain when its requests are done, that of our patience with
/// the peer, or the abort's.
pub(super) async fn serve<I>(
    io: I,
    repair: Option<AuthorityRewriter>,
    service: Service,
    origin: Origin,
    age: Duration,
    steps: &Shutdown,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let conduct = PeerWatchdog::default();
    let begun = tokio::select! {
        begun = tokio::time::timeout(PREFACE_TIMEOUT, PeerStream::begin(io, repair, conduct.clone())) => begun,
        () = steps.drain.cancelled() => return,
    };
    let io = match begun {
        Ok(Ok(io)) => io,
        Ok(Err(error)) => return debug!(%error, "a connection did not begin as HTTP/2 does"),
        Err(_) => return debug!("a connection was closed: its peer said nothing"),
    };
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS)
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    let service = TowerToHyperService::new(Exchange::new(service, conduct.clone()));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut look = interval(peer_watchdog::INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // A tenth more or less, so that connections that were made together do not end together.
    let mut age = pin!(tokio::time::sleep(age.mul_f64(0.9 + 0.2 * fastrand::f64())));
    let (mut old, mut draining) = (false, false);
    let ended = loop {
        tokio::select! {
            // The peer's own words first: it may have done what it had to.
            biased;
            ended = connection.as_mut() => break ended,
            () = steps.abort.cancelled() => return,
            () = age.as_mut(), if !old => {
                old = true;
                connection.as_mut().graceful_shutdown();
            }
            () = steps.drain.cancelled(), if !draining => {
                (old, draining) = (true, true);
                connection.as_mut().graceful_shutdown();
            }
            _ = look.tick() => if let Some(problem) = conduct.look() {
                return info!(problem, ?origin, "a connection was closed");
            },
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended badly");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_its_share_and_no_more_and_gets_it_back() {
        let connections = Connections::new(Limits { all: 3, address: 2, uid: 2 });
        let (a, b) = (Origin::Uid(1), Origin::of([127, 0, 0, 1].into()));
        let first = connections.take(a);
        let second = connections.take(a);
        assert!(first.is_some() && second.is_some());
        assert!(connections.take(a).is_none(), "the peer's own limit");
        let third = connections.take(b);
        assert!(third.is_some());
        assert!(connections.take(b).is_none(), "the limit of all");
        drop(first);
        assert!(connections.take(b).is_some());
        drop((second, third));
        assert!(connections.0.counts.lock().expect("no panic").peers.is_empty(), "nothing is kept of who has gone");
    }
}
