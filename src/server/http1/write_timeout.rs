//! A stream whose peer has to take what is sent to it: hyper waits for that without end, as it does for nothing else in HTTP/1.1.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// From when nothing more can be sent until all that there is has been: so long, however slowly it is taken meanwhile.
const PATIENCE: Duration = Duration::from_secs(8);

/// The stream.
#[derive(Debug)]
pub(in crate::server) struct WriteTimeout<S> {
    inner: S,
    /// While something is not taken yet.
    late: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteTimeout<S> {
    pub(in crate::server) fn new(inner: S) -> Self {
        Self { inner, late: None }
    }

    /// What is written, or that it is too late for it.
    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        ready!(late.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not take its answer")))
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

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper flushes when it has nothing left to write.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        if flushed.is_ready() {
            self.late = None;
        }
        self.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(context);
        self.watch(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_not_taken_in_time_ends_and_what_is_taken_slowly_does_too() {
        for a_second in [0, 1] {
            let (near, mut far) = duplex(16);
            let mut near = WriteTimeout::new(near);
            let reader = tokio::spawn(async move {
                let mut some = [0; 1];
                loop {
                    sleep(Duration::from_secs(1)).await;
                    far.read_exact(&mut some[..a_second]).await.unwrap();
                }
            });
            let began = Instant::now();
            let error = near.write_all(&[0; 64]).await.unwrap_err();
            assert_eq!((error.kind(), began.elapsed()), (io::ErrorKind::TimedOut, PATIENCE), "{a_second}");
            reader.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_has_its_own_time() {
        let (near, mut far) = duplex(16);
        let mut near = WriteTimeout::new(near);
        let reader = tokio::spawn(async move {
            let mut all = [0; 64];
            for _ in 0..4 {
                sleep(PATIENCE / 2).await;
                far.read_exact(&mut all).await.unwrap();
            }
        });
        for _ in 0..4 {
            near.write_all(&[0; 64]).await.unwrap();
            near.flush().await.unwrap();
        }
        reader.await.unwrap();
    }
}
