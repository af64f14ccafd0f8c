//! The first bytes of an HTTP/2 connection, read before anything is built for it.
//!
//! hyper waits for them without end, and its keep-alive begins only after them: a peer that connects and says nothing would hold
//! its place for ever, and the drain up.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

use super::write_through::write_through;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream that has begun as HTTP/2 does. What was read of it is read again.
#[derive(Debug)]
pub(super) struct Prefaced<S> {
    unread: &'static [u8],
    inner: S,
}

impl<S: AsyncRead + Unpin> Prefaced<S> {
    /// Reads the preface.
    ///
    /// # Errors
    /// Where the peer leaves, or speaks something else.
    pub(super) async fn read(mut inner: S) -> io::Result<Self> {
        let mut read = [0; PREFACE.len()];
        inner.read_exact(&mut read).await?;
        if read != PREFACE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer does not speak HTTP/2, as gRPC does"));
        }
        Ok(Self { unread: PREFACE, inner })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefaced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.inner).poll_read(context, buffer);
        }
        let (now, later) = self.unread.split_at(self.unread.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.unread = later;
        Poll::Ready(Ok(()))
    }
}

write_through!(Prefaced);
