//! A connection's bytes as they come from its peer: the preface is read before anything is built for it, and its frames are counted.
//!
//! hyper waits for the preface without end, and its keep-alive begins only after it: a peer that connects and says nothing would hold
//! its place for ever, and the drain up.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::authority::Repair;
use super::conduct::{Budget, Conduct};
use super::frames::{ACK, CONTINUATION, END_HEADERS, Frames, HEADERS, Head, SETTINGS, Watch};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream that has begun as HTTP/2 does. The preface that was read of it is read again.
#[derive(Debug)]
pub(super) struct PeerStream<S> {
    unread: &'static [u8],
    inner: S,
    frames: Frames,
    inspector: Inspector,
}

/// Looks at every frame.
#[derive(Debug)]
struct Inspector {
    /// Where peers are known to need it.
    repair: Option<Repair>,
    budget: Budget,
    conduct: Conduct,
    /// A header block goes on in the next frame.
    amid_block: bool,
    /// Whether anything has been finished since it was last looked.
    finished: bool,
    /// What is known of what is not finished.
    unfinished: bool,
}

impl<S: AsyncRead + Unpin> PeerStream<S> {
    /// Reads the preface. What the peer does from then on is noted in `conduct`; with `repair`, its `:authority` is mended.
    ///
    /// # Errors
    /// Where the peer leaves, or speaks something else.
    pub(super) async fn begin(mut inner: S, repair: Option<Repair>, conduct: Conduct) -> io::Result<Self> {
        let mut read = [0; PREFACE.len()];
        inner.read_exact(&mut read).await?;
        if read != PREFACE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer does not speak HTTP/2, as gRPC does"));
        }
        let budget = Budget::new();
        let inspector = Inspector { repair, budget, conduct, amid_block: false, finished: false, unfinished: false };
        Ok(Self { unread: PREFACE, inner, frames: Frames::default(), inspector })
    }

    fn inspect(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let now = Instant::now();
        self.inspector.budget.refill(now);
        self.frames.follow(bytes, &mut self.inspector);
        self.inspector.note_unfinished(self.frames.is_amid(), now);
        if self.inspector.budget.is_spent() {
            return Err(io::Error::other("the peer floods the connection with frames that ask for nothing"));
        }
        Ok(())
    }
}

impl Inspector {
    fn note_unfinished(&mut self, amid_frame: bool, now: Instant) {
        let unfinished = amid_frame || self.amid_block;
        if unfinished && (self.finished || !self.unfinished) {
            self.conduct.note_unfinished(Some(now));
        } else if !unfinished && self.unfinished {
            self.conduct.note_unfinished(None);
        }
        (self.unfinished, self.finished) = (unfinished, false);
    }
}

impl Watch for Inspector {
    fn head(&mut self, head: Head) {
        let Head { kind, flags, .. } = head;
        match kind {
            HEADERS => self.budget.note_request(),
            _ => self.budget.spend(),
        }
        self.amid_block = matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS == 0;
        if kind == SETTINGS && flags & ACK != 0 {
            self.conduct.note_acknowledged();
        }
        if let Some(repair) = &mut self.repair {
            repair.head(head);
        }
    }

    fn payload(&mut self, bytes: &mut [u8]) {
        if let Some(repair) = &mut self.repair {
            repair.payload(bytes);
        }
    }

    fn end(&mut self) {
        self.finished |= !self.amid_block;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PeerStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let (now, later) = self.unread.split_at(self.unread.len().min(buffer.remaining()));
            buffer.put_slice(now);
            self.unread = later;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        Poll::Ready(self.inspect(&mut buffer.filled_mut()[before..]))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PeerStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        self.inspector.budget.note_sent(sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.inner).poll_write_vectored(context, slices))?;
        self.inspector.budget.note_sent(sent);
        Poll::Ready(Ok(sent))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
