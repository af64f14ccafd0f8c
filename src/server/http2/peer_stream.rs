//! The byte stream of a connection: reads the preface before hyper does, and inspects every frame of the peer.
//!
//! hyper has no timeout for the preface, and its keepalive starts only after the preface. A peer that connects and stays silent would
//! keep its connection for ever and delay the drain.
//!
//! What hyper writes is collected. The driver of the connection sends it at the end of a poll, with one write for all frames.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::authority::AuthorityRewriter;
use super::frame_budget::FrameBudget;
use super::frames::{ACK, CONTINUATION, DATA, END_HEADERS, FrameHeader, FrameParser, FrameVisitor, HEADERS, SETTINGS};
use super::output::{Output, Written};
use super::peer_watchdog::PeerWatchdog;
use super::turns::Turns;
use crate::limits::{ConnectionMemory, HeldMemory, Unproved};
use crate::server::first_bytes::{self, NEEDS_HTTP2, NEEDS_PLAINTEXT, PREFACE, Spoken};
use crate::server::lingering_close::LingeringClose;
use crate::sync::lock;

/// Bytes of an unproved peer that h2 gets at once: one request, or part of it.
const UNPROVED_READ: usize = 512;

/// Bytes of header blocks of any other peer that h2 gets before their requests reach their handlers, and are counted. Short fields
/// take forty times as much once they are decoded.
const HEADERS_PER_TURN: usize = 2 * 1024;

/// A stream whose preface has been read. hyper reads the preface again from here. A clone is a handle of the same stream: hyper has
/// one, and its driver the other.
#[derive(Debug)]
pub(super) struct PeerStream<S>(Arc<Mutex<Framed<S>>>);

#[derive(Debug)]
struct Framed<S> {
    /// The part of the preface that hyper has not read yet.
    preface: &'static [u8],
    inner: S,
    parser: FrameParser,
    inspector: Inspector,
    output: Output,
    /// The memory of the output while the peer does not read.
    held: Option<HeldMemory>,
    closing: LingeringClose,
}

/// Inspects every frame of the peer.
#[derive(Debug)]
pub(super) struct Inspector {
    rewriter: Option<AuthorityRewriter>,
    unproved: Option<Unproved>,
    turns: Turns,
    memory: ConnectionMemory,
    budget: FrameBudget,
    watchdog: PeerWatchdog,
    /// Whether a header block continues in the next frame.
    within_block: bool,
    /// When the unfinished frame or header block started.
    started: Option<Instant>,
    /// The turn in which a request started.
    request_turn: Option<u64>,
    /// The turn of the last read.
    read_turn: u64,
    /// Bytes of header blocks in this turn.
    turn_headers: usize,
    /// Whether the watchdog was told about the unfinished frame. The peer is late only while the broker waits for more bytes.
    reported: bool,
}

/// Why a connection did not start.
#[derive(Debug)]
pub(super) enum NotStarted {
    /// The peer disconnected.
    Disconnected(io::Error),
    /// The peer speaks another protocol.
    Foreign(Spoken),
}

impl<S: AsyncRead + AsyncWrite + Unpin> PeerStream<S> {
    /// Reads the preface. From then on `inspector` sees every frame. Answers a peer that speaks HTTP/1.1 or TLS.
    ///
    /// # Errors
    /// Fails if the peer disconnects or sends anything but the preface, at the first byte that differs.
    pub(super) async fn begin(mut inner: S, inspector: Inspector) -> Result<Self, NotStarted> {
        let (mut read, mut length) = ([0; PREFACE.len()], 0);
        while length < read.len() {
            match inner.read(&mut read[length..]).await {
                Ok(0) => return Err(NotStarted::Disconnected(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => length += count,
                Err(error) => return Err(NotStarted::Disconnected(error)),
            }
            match Spoken::of(&read[..length]) {
                Spoken::Http2 => {}
                foreign => return Err(refused(inner, foreign).await),
            }
        }
        inspector.watchdog.note_settings();
        Ok(Self(Arc::new(Mutex::new(Framed {
            preface: PREFACE,
            inner,
            parser: FrameParser::default(),
            inspector,
            output: Output::default(),
            held: None,
            closing: LingeringClose::default(),
        }))))
    }
}

impl<S: AsyncWrite + Unpin> PeerStream<S> {
    /// Sends what was collected.
    pub(super) fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_send(context)
    }
}

impl<S> Clone for PeerStream<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Answers a peer that speaks another protocol, if it understands an answer.
async fn refused(inner: impl AsyncRead + AsyncWrite + Unpin, spoken: Spoken) -> NotStarted {
    let answer = match spoken {
        Spoken::Http1 => NEEDS_HTTP2,
        Spoken::Tls => NEEDS_PLAINTEXT,
        Spoken::Http2 | Spoken::Unknown => return NotStarted::Foreign(spoken),
    };
    // Boxed: the future of every connection would have room for it.
    Box::pin(first_bytes::refuse(inner, answer)).await;
    NotStarted::Foreign(spoken)
}

impl<S: AsyncWrite + Unpin> Framed<S> {
    /// Sends what was collected. What the socket does not accept counts in the memory of requests, unless the peer is unproved: it
    /// gets little within one poll, and nothing more is collected then.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.output.is_unsent() {
            return Poll::Ready(Ok(()));
        }
        let Self { inner, inspector, output, held, .. } = self;
        let sent = output.poll_send(inner, context, |written| inspector.note_write(written));
        if sent.is_ready() {
            *held = None;
            inspector.watchdog.note_all_sent();
        } else if inspector.unproved().is_none() {
            held.get_or_insert_with(|| inspector.memory.hold(output.memory()));
        }
        sent
    }

    /// Completes when more can be collected: at once, unless the socket accepts no more.
    fn poll_collectable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.output.is_blocked() || self.output.is_full() { self.poll_send(context) } else { Poll::Ready(Ok(())) }
    }

    fn poll_collect(&mut self, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.poll_collectable(context))?;
        if !self.output.is_unsent() {
            self.inspector.watchdog.note_unsent();
        }
        Poll::Ready(Ok(self.output.collect(slices)))
    }
}

impl<S: AsyncRead + Unpin> Framed<S> {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.preface.is_empty() {
            let (now, later) = self.preface.split_at(self.preface.len().min(buffer.remaining()));
            buffer.put_slice(now);
            self.preface = later;
            return Poll::Ready(Ok(()));
        }
        if self.inspector.unproved().is_some() {
            return self.poll_read_little(context, buffer);
        }
        if self.inspector.must_wait()? {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.inspector.poll_room(context));
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.inspector.note_waiting(read.is_pending());
        ready!(read)?;
        self.inspect(&mut buffer.filled_mut()[before..]).into()
    }

    /// Reads few bytes. After a request the rest waits for the next turn, in which the request has reached its handler.
    fn poll_read_little(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.inspector.must_yield() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.inspector.poll_room(context));
        let mut bytes = [0; UNPROVED_READ];
        let mut read = ReadBuf::new(&mut bytes[..UNPROVED_READ.min(buffer.remaining())]);
        let polled = Pin::new(&mut self.inner).poll_read(context, &mut read);
        self.inspector.note_waiting(polled.is_pending());
        ready!(polled)?;
        self.inspect(read.filled_mut())?;
        buffer.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }

    fn inspect(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let now = self.inspector.turns.now();
        self.inspector.budget.refill(now);
        self.parser.parse(bytes, &mut self.inspector);
        self.inspector.note_started(self.parser.is_within_frame(), now);
        if self.inspector.budget.is_exceeded() {
            return Err(io::Error::other("the peer floods the connection with frames that carry no request"));
        }
        Ok(())
    }
}

impl Inspector {
    /// Notifies `watchdog` of the peer's frames, counts messages for `unproved` or in `memory`, and lets `rewriter` correct the
    /// `:authority`.
    pub(super) fn new(
        rewriter: Option<AuthorityRewriter>,
        watchdog: PeerWatchdog,
        unproved: Option<Unproved>,
        turns: Turns,
        memory: ConnectionMemory,
    ) -> Self {
        let budget = FrameBudget::new();
        Self {
            rewriter,
            unproved,
            turns,
            memory,
            budget,
            watchdog,
            within_block: false,
            started: None,
            request_turn: None,
            read_turn: 0,
            turn_headers: 0,
            reported: false,
        }
    }

    fn unproved(&self) -> Option<&Unproved> {
        self.unproved.as_ref().filter(|connection| !connection.is_proved())
    }

    /// Returns whether a request of an unproved peer started in this turn.
    fn must_yield(&self) -> bool {
        self.request_turn == Some(self.turns.current())
    }

    /// Returns whether requests of a proved peer must reach their handlers before it may send more.
    fn must_wait(&mut self) -> io::Result<bool> {
        let turn = self.turns.current();
        if std::mem::replace(&mut self.read_turn, turn) != turn {
            self.turn_headers = 0;
            self.memory.note_turn();
        }
        if self.memory.is_closing() {
            return Err(io::Error::other("the peer's requests take too much memory"));
        }
        Ok(self.turn_headers > HEADERS_PER_TURN)
    }

    /// Completes when the memory of requests has room for more. The peer is not late meanwhile.
    fn poll_room(&mut self, context: &Context<'_>) -> Poll<()> {
        let room = match self.unproved() {
            Some(connection) => connection.poll_room(context),
            None => self.memory.poll_room(context),
        };
        if room.is_pending() {
            self.note_waiting(false);
        }
        room
    }

    fn note_started(&mut self, within_frame: bool, now: Instant) {
        if within_frame || self.within_block {
            self.started.get_or_insert(now);
        }
    }

    /// Notes whether the broker waits for more bytes.
    fn note_waiting(&mut self, waiting: bool) {
        let report = waiting && self.started.is_some();
        if report != self.reported {
            self.watchdog.note_unfinished(self.started.filter(|_| report));
            self.reported = report;
        }
    }

    fn note_write(&mut self, written: &Written) {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.budget.note_sent(*bytes);
                self.watchdog.note_sent(*bytes);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.watchdog.note_unread(),
        }
    }
}

impl FrameVisitor for Inspector {
    fn header(&mut self, header: FrameHeader) {
        let FrameHeader { length, kind, flags } = header;
        match kind {
            HEADERS => {
                self.budget.note_request();
                self.request_turn = Some(self.turns.current());
            }
            _ => self.budget.withdraw(),
        }
        if matches!(kind, HEADERS | CONTINUATION) {
            self.turn_headers += length;
        }
        match self.unproved() {
            Some(connection) if kind == DATA => connection.note_received(length),
            None if kind == DATA => self.memory.note_received(length),
            _ => {}
        }
        self.within_block = matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS == 0;
        if kind == SETTINGS && flags & ACK != 0 {
            self.watchdog.note_acknowledged();
        }
        if let Some(rewriter) = &mut self.rewriter {
            rewriter.header(header);
        }
    }

    fn payload(&mut self, bytes: &mut [u8]) {
        if let Some(rewriter) = &mut self.rewriter {
            rewriter.payload(bytes);
        }
    }

    fn end(&mut self) {
        if !self.within_block {
            self.started = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PeerStream<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for PeerStream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_collect(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_collect(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Leaves the sending to the driver, unless the socket accepts no more: then h2 must wait.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut framed = lock(&self.0);
        if framed.output.is_blocked() { framed.poll_send(context) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut framed = lock(&self.0);
        ready!(framed.poll_send(context))?;
        let Framed { inner, closing, .. } = &mut *framed;
        closing.poll(inner, context)
    }
}
