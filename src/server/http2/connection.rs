//! An HTTP/2 connection, from its preface to its end.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use tracing::debug;

use super::authority::AuthorityRewriter;
use super::driver::Driver;
use super::keepalive_timer::KeepaliveTimer;
use super::peer_stream::{Inspector, NotStarted, PeerStream};
use super::peer_watchdog::PeerWatchdog;
use super::streams::{NewStreams, Streams};
use super::tracked_service::TrackedService;
use super::turns::Turns;
use crate::api::grpc::fast_path::ConnectionFastPath;
use crate::limits::{ConnectionMemory, Unproved};
use crate::server::first_bytes::Spoken;
use crate::server::grpc_service::GrpcService;
use crate::server::lifetime::Lifetime;
use crate::server::when_woken::WhenWoken;

/// Requests in flight on one connection.
const MAX_STREAMS: u32 = 100;
/// Maximum total size of a request's header names and values. A bearer token in them may have 8 KiB.
const MAX_HEADERS: u32 = 16 * 1024;
/// Time for the HTTP/2 preface to arrive.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
/// Keepalive: the interval and the timeout together detect a peer that vanished without closing the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for an idle peer to acknowledge the GOAWAY of a drain: several round trips.
const DRAIN_ANSWER: Duration = Duration::from_secs(1);
/// Checks in that time that must find no call.
const IDLE_CHECKS: u32 = 10;
/// Buffered bytes of a response, beside the message itself.
const SEND_BUFFER: usize = 16 * 1024;
/// Unread bytes that a peer may send per call and per connection: two and four of the largest requests.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// The same of a peer that has proved nothing: HTTP/2 allows no less.
const UNPROVED_WINDOW: u32 = 64 * 1024 - 1;

/// A connection whose peer is identified.
#[derive(Debug)]
pub(super) struct Connection {
    service: GrpcService,
    rewriter: Option<AuthorityRewriter>,
    watchdog: PeerWatchdog,
    turns: Turns,
    unproved: Option<Unproved>,
    memory: ConnectionMemory,
}

/// How a connection ended.
enum End {
    /// By its peer, its lifetime, or an error.
    Ended,
    /// The broker closes it.
    Closed(&'static str),
    /// The peer misbehaved.
    Problem(&'static str),
}

impl Connection {
    /// Calls `service`. `rewriter` is for Unix sockets, whose clients may send an invalid `:authority`.
    /// `unproved` has the limits of a peer that has proved nothing, `memory` those of any other.
    pub(super) fn new(
        service: GrpcService,
        rewriter: Option<AuthorityRewriter>,
        unproved: Option<Unproved>,
        memory: ConnectionMemory,
    ) -> Self {
        let (watchdog, turns) = (PeerWatchdog::default(), Turns::default());
        Self { service, rewriter, watchdog, turns, unproved, memory }
    }

    /// Serves the connection until its peer or its lifetime ends it, or its peer misbehaves: then returns the problem.
    ///
    /// Boxed, and so is each phase: a future has room for all that it moves, for as long as the connection lasts.
    pub(super) async fn serve<I>(mut self: Box<Self>, io: I, lifetime: &Lifetime) -> Option<&'static str>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = match Box::pin(self.begin(io, lifetime)).await {
            Ok(io) => io,
            Err(problem) => return problem,
        };
        match self.drive(io, lifetime).await {
            End::Ended => {}
            End::Closed(reason) => debug!(reason, "connection closed"),
            End::Problem(problem) => return Some(problem),
        }
        None
    }

    /// Drives the connection after its preface. The future has no room for what only its start needs.
    fn drive<I>(self, io: PeerStream<I>, lifetime: &Lifetime) -> BoxFuture<'_, End>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { service, watchdog, turns, unproved, memory, .. } = self;
        let window = if unproved.is_some() { UNPROVED_WINDOW } else { CONNECTION_WINDOW };
        let fast_path = service.fast_path();
        let batch = fast_path.as_ref().and_then(ConnectionFastPath::batch);
        let service = TrackedService::new(service, fast_path, watchdog.clone(), unproved, memory.clone());
        let streams = Streams::default();
        let builder = builder(window, streams.executor(), KeepaliveTimer::new(turns.clone()));
        let connection = builder.serve_connection(TokioIo::new(io.clone()), service);
        let mut driver = Driver::new(connection, io, streams, batch, turns);
        let (mut retired, mut is_retired) = (WhenWoken::new(lifetime.retired()), false);
        let mut upkeep = WhenWoken::new(upkeep(watchdog, lifetime));
        Box::pin(async move {
            // It shares its waker with the reads of the connection, so it must be polled after each of these.
            let mut closing = pin!(memory.closing());
            loop {
                tokio::select! {
                    biased;
                    // Poll the connection before the watchdog: bytes that have arrived may contain what it waits for.
                    ended = &mut driver => {
                        if let Err(error) = ended {
                            debug!(%error, "connection failed");
                        }
                        return End::Ended;
                    }
                    () = &mut closing => return End::Closed("too much memory for its requests"),
                    () = &mut retired, if !is_retired => {
                        driver.connection().graceful_shutdown();
                        is_retired = true;
                    }
                    end = &mut upkeep => return end,
                }
            }
        })
    }

    /// Reads the preface. Fails with the problem of a peer that speaks another protocol.
    async fn begin<I>(&mut self, io: I, lifetime: &Lifetime) -> Result<PeerStream<I>, Option<&'static str>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let (unproved, turns, memory) = (self.unproved.clone(), self.turns.clone(), self.memory.clone());
        let inspector = Inspector::new(self.rewriter.take(), self.watchdog.clone(), unproved, turns, memory);
        let begin = PeerStream::begin(io, inspector);
        let started = tokio::select! {
            started = tokio::time::timeout(PREFACE_TIMEOUT, begin) => started,
            () = lifetime.draining() => return Err(None),
            () = self.memory.closing() => return Err(None),
        };
        match started {
            Ok(Ok(io)) => return Ok(io),
            Ok(Err(NotStarted::Foreign(spoken))) => return Err(Some(foreign_problem(spoken))),
            Ok(Err(NotStarted::Disconnected(error))) => debug!(%error, "connection closed: no HTTP/2 preface"),
            Err(_) => debug!("connection closed: HTTP/2 preface timed out"),
        }
        Err(None)
    }
}

fn foreign_problem(spoken: Spoken) -> &'static str {
    match spoken {
        Spoken::Http1 => "HTTP/1.1 on a port of gRPC, which needs HTTP/2",
        Spoken::Tls => "TLS on a port without TLS",
        Spoken::Http2 | Spoken::Unknown => "neither HTTP/2 nor TLS",
    }
}

/// Completes when the broker must close the connection.
async fn upkeep(watchdog: PeerWatchdog, lifetime: &Lifetime) -> End {
    tokio::select! {
        biased;
        problem = watchdog.problem() => End::Problem(problem),
        () = idle_at_drain(&watchdog, lifetime) => End::Closed("idle peer did not answer the drain"),
    }
}

/// Completes when the broker drains and the connection has had no call for [`DRAIN_ANSWER`]. Until its peer acknowledges the GOAWAY,
/// hyper keeps the connection open for calls on their way, and a peer that never does would hold up the shutdown.
async fn idle_at_drain(watchdog: &PeerWatchdog, lifetime: &Lifetime) {
    lifetime.shutting_down().await;
    let mut idle_checks = 0;
    while idle_checks < IDLE_CHECKS {
        sleep(DRAIN_ANSWER / IDLE_CHECKS).await;
        idle_checks = if watchdog.is_idle() { idle_checks + 1 } else { 0 };
    }
}

fn builder(connection_window: u32, streams: NewStreams, timer: KeepaliveTimer) -> Builder<NewStreams> {
    let mut builder = Builder::new(streams);
    builder
        .timer(timer)
        // gRPC has no use for it.
        .auto_date_header(false)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS)
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(connection_window)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}
