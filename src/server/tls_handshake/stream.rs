//! The byte stream under TLS: counts and limits what the peer sends during the handshake, then what it sends to the layer above.
//!
//! rustls keeps a handshake message until it is complete, up to 64 KB. The peer has proved nothing by then.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::memory::{HeldBytes, TlsMemory};
use super::records::Records;

/// Longest handshake of a peer. A client hello and a chain of certificates have a few KB each.
const MAX_HANDSHAKE: usize = 32 * 1024;

/// A stream on which a handshake comes first.
#[derive(Debug)]
pub(super) struct HandshakeStream<S> {
    inner: S,
    /// The memory of the handshake; `None` once it has ended.
    handshake: Option<TlsMemory>,
    held: Option<HeldBytes>,
    /// Bytes that were read: of the handshake, later since they were taken.
    read: usize,
    records: Records,
}

impl<S> HandshakeStream<S> {
    pub(super) fn new(inner: S, memory: TlsMemory) -> Self {
        Self { inner, handshake: Some(memory), held: None, read: 0, records: Records::default() }
    }

    /// Notes the end of the handshake: nothing is limited here any more.
    pub(super) fn note_established(&mut self) {
        (self.handshake, self.held, self.read) = (None, None, 0);
    }

    /// Returns how many bytes were read since the last call.
    pub(super) fn take_read(&mut self) -> usize {
        std::mem::take(&mut self.read)
    }

    /// Returns how many bytes of a record were read that is not complete.
    pub(super) fn incomplete(&self) -> usize {
        self.records.incomplete()
    }

    fn note_read(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.read += bytes.len();
        self.records.follow(bytes);
        let Some(memory) = &self.handshake else { return Ok(()) };
        self.held = memory.hold(self.read);
        if self.read > MAX_HANDSHAKE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the TLS handshake is too long"));
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HandshakeStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        Poll::Ready(self.note_read(&buffer.filled()[before..]))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HandshakeStream<S> {
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
