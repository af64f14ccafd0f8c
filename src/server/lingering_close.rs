//! Lingering close: waits for the peer's end of a stream before the socket closes.
//!
//! A socket that closes while its peer still sends resets the connection. Then haproxy drops what it has not read yet, the end of
//! the last response, when it acknowledges the part that it has read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Time for the peer to read what was sent and to close the connection.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// Bytes of the peer that are discarded meanwhile: more than the headers of a browser.
pub(super) const MAX_DISCARDED: usize = 16 * 1024;

/// The progress of a lingering close.
#[derive(Debug, Default)]
pub(super) struct LingeringClose {
    timeout: Option<Pin<Box<Sleep>>>,
    is_shut: bool,
    discarded: usize,
}

impl LingeringClose {
    /// Shuts the writing half, then discards what the peer sends, until it closes the stream, sends too much or takes too long.
    pub(super) fn poll<S>(&mut self, stream: &mut S, context: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let timeout = self.timeout.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        if timeout.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if !self.is_shut {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
            self.is_shut = true;
        }
        while self.discarded < MAX_DISCARDED {
            let mut bytes = [0; 512];
            let mut read = ReadBuf::new(&mut bytes);
            let received = ready!(Pin::new(&mut *stream).poll_read(context, &mut read));
            if received.is_err() || read.filled().is_empty() {
                break;
            }
            self.discarded += read.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;

    /// Sends an answer and closes; returns the time that the close took.
    fn closing(mut stream: DuplexStream) -> JoinHandle<Duration> {
        tokio::spawn(async move {
            stream.write_all(b"answer").await.unwrap();
            let start = Instant::now();
            let mut closing = LingeringClose::default();
            poll_fn(|context| closing.poll(&mut stream, context)).await.unwrap();
            start.elapsed()
        })
    }

    /// What a proxy sends while it reads the last response, such as a window update, meets an open socket.
    #[tokio::test(start_paused = true)]
    async fn peer_that_still_sends_gets_the_end_and_closes_first() {
        let (stream, mut peer) = duplex(1024);
        let closing = closing(stream);
        sleep(LINGER / 2).await;
        peer.write_all(b"window update").await.unwrap();
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
        peer.write_all(b"one more").await.unwrap();
        drop(peer);
        assert_eq!(closing.await.unwrap(), LINGER / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn peer_that_stays_is_closed_after_a_second() {
        let (stream, peer) = duplex(1024);
        assert_eq!(closing(stream).await.unwrap(), LINGER);
        drop(peer);
    }

    #[tokio::test(start_paused = true)]
    async fn peer_that_sends_on_and_on_is_closed_at_once() {
        let (stream, mut peer) = duplex(4 * MAX_DISCARDED);
        peer.write_all(&vec![b'x'; 2 * MAX_DISCARDED]).await.unwrap();
        assert_eq!(closing(stream).await.unwrap(), Duration::ZERO);
    }
}
