//! A connection's bytes as they come from its peer: the preface is read before anything is built for it, and its frames are counted.
//!
//! hyper waits for the preface without end, and its keep-alive begins only after it: a peer that connects and says nothing would hold
//! its place for ever, and the drain up.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::authority::AuthorityRewriter;
use super::frames::{ACK, CONTINUATION, END_HEADERS, Frames, HEADERS, Head, SETTINGS, Watch};
use super::peer_watchdog::{Budget, PeerWatchdog};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream that has begun as HTTP/2 does. The preface that was read of it is read again.
#[derive(Debug)]
pub(in crate::server) struct PeerStream<S> {
    unread: &'static [u8],
    inner: S,
    frames: Frames,
    inspector: Inspector,
}

/// Looks at every frame.
#[derive(Debug)]
struct Inspector {
    /// Where peers are known to need it.
    repair: Option<AuthorityRewriter>,
    budget: Budget,
    conduct: PeerWatchdog,
    /// A header block goes on in the next frame.
    amid_block: bool,
    /// When what is not finished was begun.
    begun: Option<Instant>,
    /// Whether that is noted: it is the peer's affair only while the rest is waited for.
    blamed: bool,
}

impl<S: AsyncRead + Unpin> PeerStream<S> {
    /// Reads the preface. What the peer does from then on is noted in `conduct`; with `repair`, its `:authority` is mended.
    ///
    /// # Errors
    /// Where the peer leaves, or speaks something else.
    pub(in crate::server) async fn begin(
        mut inner: S,
        repair: Option<AuthorityRewriter>,
        conduct: PeerWatchdog,
    ) -> io::Result<Self> {
        let mut read = [0; PREFACE.len()];
        inner.read_exact(&mut read).await?;
        if read != PREFACE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer does not speak HTTP/2, as gRPC does"));
        }
        conduct.note_settings();
        let budget = Budget::new();
        let inspector = Inspector { repair, budget, conduct, amid_block: false, begun: None, blamed: false };
        Ok(Self { unread: PREFACE, inner, frames: Frames::default(), inspector })
    }

    fn inspect(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let now = Instant::now();
        self.inspector.budget.refill(now);
        self.frames.follow(bytes, &mut self.inspector);
        self.inspector.note_begun(self.frames.is_amid(), now);
        if self.inspector.budget.is_spent() {
            return Err(io::Error::other("the peer floods the connection with frames that ask for nothing"));
        }
        Ok(())
    }
}

impl Inspector {
    fn note_begun(&mut self, amid_frame: bool, now: Instant) {
        if amid_frame || self.amid_block {
            self.begun.get_or_insert(now);
        }
    }

    /// Whether more is waited for now.
    fn note_waiting(&mut self, waiting: bool) {
        let blamed = waiting && self.begun.is_some();
        if blamed != self.blamed {
            self.conduct.note_unfinished(self.begun.filter(|_| blamed));
            self.blamed = blamed;
        }
    }

    fn note_write<T>(&mut self, written: &Poll<io::Result<T>>, bytes: impl FnOnce(&T) -> usize) {
        match written {
            Poll::Ready(Ok(written)) => {
                let bytes = bytes(written);
                self.budget.note_sent(bytes);
                self.conduct.note_sent(bytes);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.conduct.note_unread(),
        }
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
        if !self.amid_block {
            self.begun = None;
        }
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
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.inspector.note_waiting(read.is_pending());
        ready!(read)?;
        Poll::Ready(self.inspect(&mut buffer.filled_mut()[before..]))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PeerStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.inspector.note_write(&sent, |sent| *sent);
        sent
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.inspector.note_write(&sent, |sent| *sent);
        sent
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.inspector.note_write(&flushed, |()| 0);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(context);
        self.inspector.note_write(&shut, |()| 0);
        shut
    }
}
