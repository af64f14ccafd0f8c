//! Write timeout for HTTP/1.1 streams; hyper has none.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::server::lingering_close::LingeringClose;

/// Time from the first blocked write until all pending bytes are written. A peer that reads a byte now and then does not extend it.
const TIMEOUT: Duration = Duration::from_secs(8);

/// A stream whose writes fail once its peer has not read for too long.
#[derive(Debug)]
pub(super) struct WriteTimeout<S> {
    inner: S,
    /// Runs while something pending is not written.
    timeout: Option<Pin<Box<Sleep>>>,
    closing: LingeringClose,
}

impl<S> WriteTimeout<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, timeout: None, closing: LingeringClose::default() }
    }

    /// Returns the write's result, or an error if it has blocked for too long.
    fn bound<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let timeout = self.timeout.get_or_insert_with(|| Box::pin(sleep(TIMEOUT)));
        ready!(timeout.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "write timed out: the peer does not read its response",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.bound(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.bound(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper flushes when it has nothing more to write, so a completed flush ends the timeout.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        if flushed.is_ready() {
            self.timeout = None;
        }
        self.bound(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { inner, closing, .. } = &mut *self;
        closing.poll(inner, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn blocked_write_times_out_even_if_the_peer_reads_slowly() {
        for bytes_per_second in [0, 1] {
            let (near, mut far) = duplex(16);
            let mut near = WriteTimeout::new(near);
            let reader = tokio::spawn(async move {
                let mut byte = [0; 1];
                loop {
                    sleep(Duration::from_secs(1)).await;
                    far.read_exact(&mut byte[..bytes_per_second]).await.unwrap();
                }
            });
            let began = Instant::now();
            let error = near.write_all(&[0; 64]).await.unwrap_err();
            assert_eq!((error.kind(), began.elapsed()), (io::ErrorKind::TimedOut, TIMEOUT), "{bytes_per_second}");
            reader.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn timeout_starts_again_for_each_response() {
        let (near, mut far) = duplex(16);
        let mut near = WriteTimeout::new(near);
        let reader = tokio::spawn(async move {
            let mut response = [0; 64];
            for _ in 0..4 {
                sleep(TIMEOUT / 2).await;
                far.read_exact(&mut response).await.unwrap();
            }
        });
        for _ in 0..4 {
            near.write_all(&[0; 64]).await.unwrap();
            near.flush().await.unwrap();
        }
        reader.await.unwrap();
    }
}
