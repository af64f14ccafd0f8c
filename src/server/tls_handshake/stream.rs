//! The byte stream of a TLS connection: counts and limits what the peer sends during the handshake.
//!
//! rustls keeps a handshake message until it is complete, up to 64 KB. The peer has proved nothing by then.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::UnprovedHandshake;

/// Longest handshake of a peer. A client hello and a chain of certificates have a few KB each.
const MAX_HANDSHAKE: usize = 32 * 1024;

/// A stream on which a handshake comes first.
#[derive(Debug)]
pub(in crate::server) struct HandshakeStream<S> {
    inner: S,
    /// Bytes that may still arrive before the handshake ends, and the count of those that have; `None` once it has ended.
    handshake: Option<(usize, UnprovedHandshake)>,
}

impl<S> HandshakeStream<S> {
    pub(in crate::server) fn new(inner: S, handshake: UnprovedHandshake) -> Self {
        Self { inner, handshake: Some((MAX_HANDSHAKE, handshake)) }
    }

    /// Notes the end of the handshake: nothing is counted or limited any more.
    pub(in crate::server) fn note_established(&mut self) {
        self.handshake = None;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HandshakeStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { inner, handshake } = &mut *self;
        let Some((left, counted)) = handshake else { return Pin::new(inner).poll_read(context, buffer) };
        let before = buffer.filled().len();
        ready!(Pin::new(inner).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        counted.note_read(read);
        let rest = left.checked_sub(read);
        *left = rest.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the TLS handshake is too long"))?;
        Poll::Ready(Ok(()))
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
