//! Drives a connection: polls it and its streams, and then sends all their output with one write.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::AsyncWrite;
use tokio::task::coop::has_budget_remaining;

use super::peer_stream::PeerStream;
use super::streams::Streams;
use super::turns::Turns;
use crate::audit::AuditBatch;
use crate::server::gate::Gate;

/// Rounds of one poll, while the connection and its streams wake each other. Then the other tasks run.
const MAX_ROUNDS: u32 = 8;

/// A connection of hyper, with its socket and its streams.
pub(super) struct Driver<C, S> {
    connection: Pin<Box<C>>,
    socket: PeerStream<S>,
    streams: Streams,
    /// Audit records of the streams.
    batch: Option<AuditBatch>,
    turns: Turns,
    gate: Arc<Gate>,
    waker: Waker,
}

/// Why a connection failed.
type Failure = Box<dyn Error + Send + Sync>;

impl<C, S, E> Driver<C, S>
where
    C: Future<Output = Result<(), E>>,
    S: AsyncWrite + Unpin,
    E: Into<Failure>,
{
    /// Drives `connection`, which writes to `socket` and starts `streams`. The records of `batch` are written once per round.
    pub(super) fn new(
        connection: C,
        socket: PeerStream<S>,
        streams: Streams,
        batch: Option<AuditBatch>,
        turns: Turns,
    ) -> Self {
        let gate = Gate::new();
        let waker = Waker::from(Arc::clone(&gate));
        Self { connection: Box::pin(connection), socket, streams, batch, turns, gate, waker }
    }

    /// Returns the connection. The driver must be polled after a change.
    pub(super) fn connection(&mut self) -> Pin<&mut C> {
        self.connection.as_mut()
    }

    /// Polls everything until it waits for the peer or for other tasks, or until it is the turn of other tasks.
    fn poll_rounds(&mut self) -> Poll<Result<(), Failure>> {
        for round in 1.. {
            self.gate.begin_poll();
            let (polled, is_in_time) = self.poll_round();
            let may_continue = is_in_time && round < MAX_ROUNDS && has_budget_remaining();
            if polled.is_pending() && may_continue && self.gate.is_woken() {
                continue;
            }
            let sent = self.socket.poll_send(&mut Context::from_waker(&self.waker));
            if let Poll::Ready(ended) = polled {
                return Poll::Ready(ended);
            }
            if let Poll::Ready(Err(error)) = sent {
                return Poll::Ready(Err(error.into()));
            }
            if !(may_continue && self.gate.is_woken()) {
                break;
            }
        }
        Poll::Pending
    }

    /// Polls the connection, then its streams. The records of new streams are written before these streams are polled again. Returns
    /// with the result whether all new streams were polled in time.
    fn poll_round(&mut self) -> (Poll<Result<(), Failure>>, bool) {
        let context = &mut Context::from_waker(&self.waker);
        self.turns.begin();
        let ended = self.connection.as_mut().poll(context);
        let is_in_time = self.streams.poll_new(context, self.batch.as_ref());
        let is_written = self.batch.as_ref().is_some_and(AuditBatch::commit);
        self.streams.poll_again(context, is_written);
        self.streams.poll_waiting(context);
        (ended.map_err(Into::into), is_in_time)
    }
}

impl<C, S, E> Future for Driver<C, S>
where
    C: Future<Output = Result<(), E>>,
    S: AsyncWrite + Unpin,
    E: Into<Failure>,
{
    type Output = Result<(), Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.gate.set_task(context.waker());
        let polled = self.poll_rounds();
        self.gate.end_poll();
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{pending, poll_fn};
    use std::io;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use futures_util::future::join_all;
    use http::{Request, Response};
    use http_body_util::{BodyExt as _, Empty, Full};
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex};
    use tokio::time::{Duration, Instant, timeout};

    use super::super::keepalive_timer::KeepaliveTimer;
    use super::super::peer_stream::Inspector;
    use super::super::peer_watchdog::PeerWatchdog;
    use super::*;
    use crate::clock::SystemClock;
    use crate::limits::{LimitHits, Origin, RequestMemory};
    use crate::metrics::Registry;
    use crate::server::first_bytes::PREFACE;

    /// A socket that counts writes.
    struct Counting(DuplexStream, Arc<AtomicUsize>);

    impl AsyncRead for Counting {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for Counting {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut self.0).poll_write(context, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(context)
        }
    }

    /// Begins a connection whose peer has `io`.
    async fn begin<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> (PeerStream<S>, Turns) {
        let memory = RequestMemory::new(Arc::new(SystemClock::new()), LimitHits::new(&mut Registry::default()));
        let turns = Turns::default();
        let memory = memory.enter(Origin::Uid(1));
        let inspector = Inspector::new(None, PeerWatchdog::default(), None, turns.clone(), memory);
        (PeerStream::begin(io, inspector).await.unwrap(), turns)
    }

    /// A driver of a scripted connection, and its peer.
    async fn scripted<C>(
        connection: impl FnOnce(PeerStream<DuplexStream>) -> C,
    ) -> (Driver<C, DuplexStream>, DuplexStream)
    where
        C: Future<Output = Result<(), Infallible>>,
    {
        let (mut peer, io) = duplex(1024);
        peer.write_all(PREFACE).await.unwrap();
        let (socket, turns) = begin(io).await;
        (Driver::new(connection(socket.clone()), socket, Streams::default(), None, turns), peer)
    }

    /// Serves responses of `length` bytes to concurrent requests over a pipe of `pipe` bytes; returns the number of writes.
    async fn writes_for(requests: usize, length: usize, pipe: usize) -> usize {
        let (peer, io) = duplex(pipe);
        let writes = Arc::<AtomicUsize>::default();
        let io = Counting(io, Arc::clone(&writes));
        tokio::spawn(async move {
            let (socket, turns) = begin(io).await;
            let service = service_fn(move |_: Request<Incoming>| async move {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![7; length]))))
            });
            let streams = Streams::default();
            let connection = hyper::server::conn::http2::Builder::new(streams.executor())
                .serve_connection(TokioIo::new(socket.clone()), service);
            Driver::new(connection, socket, streams, None, turns).await.unwrap();
        });
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(peer)).await.unwrap();
        tokio::spawn(connection);
        let call = || {
            let mut sender = sender.clone();
            async move {
                let request = Request::get("http://broker/").body(Empty::<Bytes>::new()).unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), length);
            }
        };
        // The first exchanges the settings.
        call().await;
        let before = writes.load(Ordering::Relaxed);
        join_all((0..requests).map(|_| call())).await;
        writes.load(Ordering::Relaxed) - before
    }

    #[tokio::test]
    async fn responses_of_one_poll_are_sent_with_one_write() {
        assert_eq!(writes_for(10, 2_000, 1024 * 1024).await, 1);
    }

    #[tokio::test]
    async fn responses_to_a_slow_peer_arrive_in_full() {
        assert!(writes_for(20, 50_000, 100).await > 20 * 50_000 / 100);
    }

    #[tokio::test]
    async fn connection_that_wakes_itself_leaves_room_for_other_tasks() {
        let mut polls = 0;
        let (mut driver, _peer) = scripted(|_| {
            poll_fn(move |context| {
                polls += 1;
                context.waker().wake_by_ref();
                if polls > MAX_ROUNDS { Poll::Ready(Ok(())) } else { Poll::Pending }
            })
        })
        .await;
        let first = poll_fn(|context| Poll::Ready(Pin::new(&mut driver).poll(context).is_ready())).await;
        assert!(!first && driver.gate.is_woken());
        driver.await.unwrap();
    }

    #[tokio::test]
    async fn driver_without_budget_polls_once() {
        let (polls, counted) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let count = Arc::clone(&counted);
        let (mut driver, _peer) = scripted(|_| {
            poll_fn(move |context| {
                count.fetch_add(1, Ordering::Relaxed);
                context.waker().wake_by_ref();
                Poll::Pending
            })
        })
        .await;
        poll_fn(|context| {
            while has_budget_remaining() {
                assert!(pin!(tokio::task::consume_budget()).poll(context).is_ready());
            }
            polls.fetch_add(1, Ordering::Relaxed);
            Poll::Ready(Pin::new(&mut driver).poll(context).is_ready())
        })
        .await;
        assert_eq!(counted.load(Ordering::Relaxed), polls.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn end_of_the_connection_sends_what_was_collected() {
        let (driver, mut peer) = scripted(|mut socket| async move {
            socket.write_all(b"last words").await.unwrap();
            Ok(())
        })
        .await;
        driver.await.unwrap();
        let mut read = String::new();
        peer.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "last words");
    }

    #[tokio::test]
    async fn peer_that_is_gone_ends_the_connection() {
        let (driver, peer) = scripted(|mut socket| async move {
            socket.write_all(b"too late").await.unwrap();
            pending().await
        })
        .await;
        drop(peer);
        assert!(driver.await.is_err());
    }

    /// Drives a connection without requests, with keepalive, for an hour at most. Returns after which time it ended.
    async fn kept_alive(io: DuplexStream) -> Option<Duration> {
        let (socket, turns) = begin(io).await;
        let streams = Streams::default();
        let service = service_fn(|_: Request<Incoming>| pending::<Result<Response<Empty<Bytes>>, Infallible>>());
        let connection = hyper::server::conn::http2::Builder::new(streams.executor())
            .timer(KeepaliveTimer::new(turns.clone()))
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .serve_connection(TokioIo::new(socket.clone()), service);
        let (start, driver) = (Instant::now(), Driver::new(connection, socket, streams, None, turns));
        timeout(Duration::from_hours(1), driver).await.ok().map(|_| start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn keepalive_ends_the_connection_of_a_silent_peer_only() {
        let (mut silent, io) = duplex(1024);
        let settings: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        silent.write_all(&[&PREFACE[..], &settings].concat()).await.unwrap();
        let ended = kept_alive(io).await.unwrap();
        // The socket lingers for a second.
        assert!((40..=41).contains(&ended.as_secs()), "{ended:?}");

        let (peer, io) = duplex(1024);
        let client =
            hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(peer));
        let answering = tokio::spawn(async move {
            let (_sender, connection) = client.await.unwrap();
            connection.await
        });
        assert_eq!(kept_alive(io).await, None);
        answering.abort();
    }
}
