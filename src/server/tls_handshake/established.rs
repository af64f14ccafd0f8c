//! An established TLS connection: counts and limits what rustls keeps of what the peer has sent.
//!
//! rustls keeps a record until all of it has arrived, up to 16 KB, and a message about keys over several records, up to 64 KB. Its
//! decrypted bytes wait until they are read. The peer can hold all of it for as long as the connection lasts.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

use super::memory::{HeldBytes, TlsMemory};
use super::stream::HandshakeStream;

/// Bytes that do not count: the buffer that rustls has for each connection.
const USUAL: usize = 4 * 1024;
/// The most that rustls keeps of bytes that it has decrypted: a record and one read.
const MAX_DECRYPTED: usize = 20 * 1024;
/// Time for the rest of a record, as for that of a frame.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A stream whose handshake has ended.
#[derive(Debug)]
pub(in crate::server) struct EstablishedStream<S> {
    /// Boxed: it has about a kilobyte, and the future of a connection has room for several moves of it.
    inner: Box<TlsStream<HandshakeStream<S>>>,
    memory: TlsMemory,
    /// Bytes that rustls keeps, at most.
    kept: usize,
    /// Bytes among them that are not decrypted: of a record or message that is not complete.
    incomplete: usize,
    held: Option<HeldBytes>,
    /// Runs while more than the usual bytes of a record wait for its rest.
    timeout: Option<Pin<Box<Sleep>>>,
}

impl<S> EstablishedStream<S> {
    pub(super) fn new(inner: TlsStream<HandshakeStream<S>>, memory: TlsMemory) -> Self {
        let mut inner = Box::new(inner);
        inner.get_mut().0.note_established();
        Self { inner, memory, kept: 0, incomplete: 0, held: None, timeout: None }
    }

    /// Notes that some bytes were decrypted and read.
    fn note_read(&mut self, bytes: usize) {
        let io = self.inner.get_mut().0;
        let arrived = io.take_read();
        self.incomplete = io.incomplete();
        self.keep((self.kept + arrived).saturating_sub(bytes).min(MAX_DECRYPTED).max(self.incomplete));
        self.timeout = None;
    }

    /// Notes that nothing more is decrypted: what has arrived since is not complete.
    fn note_waiting(&mut self) {
        self.incomplete += self.inner.get_mut().0.take_read();
        self.keep(self.incomplete);
    }

    fn keep(&mut self, bytes: usize) {
        let [before, now] = [self.kept, bytes].map(|bytes| bytes.saturating_sub(USUAL));
        self.kept = bytes;
        if before != now {
            self.held = None;
            self.held = (now > 0).then(|| self.memory.hold(now)).flatten();
        }
    }

    /// Completes with an error if the peer has taken too long for the rest of a record.
    fn poll_timeout(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.incomplete <= USUAL {
            return Poll::Pending;
        }
        let timeout = self.timeout.get_or_insert_with(|| Box::pin(sleep(TIMEOUT)));
        ready!(timeout.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not finish a TLS record")))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for EstablishedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.inner).poll_read(context, buffer) {
            self.note_read(buffer.filled().len() - before);
            return Poll::Ready(read);
        }
        self.note_waiting();
        self.poll_timeout(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for EstablishedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
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
