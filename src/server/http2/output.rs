//! What a connection sends, collected until the end of a poll: then one write sends it.
//!
//! h2 writes each frame of a response by itself, and flushes after each poll.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// Bytes that are collected. When they are full they are sent within the poll.
pub(super) const MAX_COLLECTED: usize = 32 * 1024;
/// Room for the first frames: a response with a token takes less, and so is never copied to a larger buffer.
const FIRST_ROOM: usize = 4 * 1024;

/// Bytes that the socket has not accepted yet.
#[derive(Debug, Default)]
pub(super) struct Output {
    collected: Vec<u8>,
    /// How many of them the socket has accepted.
    sent: usize,
    /// Whether bytes were collected since the socket was flushed.
    is_unsent: bool,
    /// Whether the socket accepted no more.
    is_blocked: bool,
}

/// The result of one write or flush, for those that watch the peer.
pub(super) type Written = Poll<io::Result<usize>>;

impl Output {
    /// Returns whether bytes wait that the socket has not accepted.
    pub(super) fn is_unsent(&self) -> bool {
        self.is_unsent
    }

    /// Returns whether the socket accepts no more at present.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Returns whether nothing more can be collected before something is sent.
    pub(super) fn is_full(&self) -> bool {
        self.collected.len() >= MAX_COLLECTED
    }

    /// Returns the memory that the bytes take.
    pub(super) fn memory(&self) -> usize {
        self.collected.capacity()
    }

    /// Collects bytes as far as there is room; returns their number.
    pub(super) fn collect(&mut self, slices: &[IoSlice<'_>]) -> usize {
        let before = self.collected.len();
        for slice in slices {
            let more = slice.len().min(MAX_COLLECTED - self.collected.len());
            self.make_room(more);
            self.collected.extend_from_slice(&slice[..more]);
        }
        let collected = self.collected.len() - before;
        self.is_unsent |= collected > 0;
        collected
    }

    /// Makes room for `more` bytes, and never takes more memory than [`MAX_COLLECTED`].
    fn make_room(&mut self, more: usize) {
        let needed = self.collected.len() + more;
        if needed > self.collected.capacity() {
            let room = needed.next_power_of_two().max(FIRST_ROOM);
            self.collected.reserve_exact(room - self.collected.len());
        }
    }

    /// Sends what was collected, and frees its memory. `note` gets the result of each write and flush.
    pub(super) fn poll_send(
        &mut self,
        socket: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
        note: impl FnMut(&Written),
    ) -> Poll<io::Result<()>> {
        if !self.is_unsent {
            return Poll::Ready(Ok(()));
        }
        let sent = self.poll_write(socket, context, note);
        self.is_blocked = sent.is_pending();
        ready!(sent)?;
        self.is_unsent = false;
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &mut self,
        socket: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
        mut note: impl FnMut(&Written),
    ) -> Poll<io::Result<()>> {
        while self.sent < self.collected.len() {
            let written = Pin::new(&mut *socket).poll_write(context, &self.collected[self.sent..]);
            note(&written);
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        (self.collected, self.sent) = (Vec::new(), 0);
        let flushed = Pin::new(socket).poll_flush(context).map_ok(|()| 0);
        note(&flushed);
        flushed.map_ok(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// A socket that accepts so many bytes, and lists what it was asked to write.
    #[derive(Default)]
    struct Socket {
        room: usize,
        writes: Vec<usize>,
    }

    impl AsyncWrite for Socket {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Written {
            self.writes.push(bytes.len());
            let accepted = bytes.len().min(self.room);
            self.room -= accepted;
            if accepted == 0 { Poll::Pending } else { Poll::Ready(Ok(accepted)) }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Sends what was collected; returns the bytes that the socket accepted, and whether it accepted all.
    fn send(output: &mut Output, socket: &mut Socket) -> (usize, bool) {
        let mut accepted = 0;
        let note = |written: &Written| {
            if let Poll::Ready(Ok(bytes)) = written {
                accepted += bytes;
            }
        };
        let sent = output.poll_send(socket, &mut Context::from_waker(Waker::noop()), note);
        (accepted, sent.is_ready())
    }

    #[test]
    fn frames_are_sent_with_one_write_and_their_memory_is_freed() {
        let (mut output, mut socket) = (Output::default(), Socket { room: usize::MAX, ..Socket::default() });
        for _ in 0..3 {
            assert_eq!(output.collect(&[IoSlice::new(b"head"), IoSlice::new(&[7; 1_000])]), 1_004);
        }
        assert!(output.is_unsent() && output.memory() >= 3_012);
        assert_eq!(send(&mut output, &mut socket), (3_012, true));
        assert_eq!((socket.writes, output.memory(), output.is_unsent()), (vec![3_012], 0, false));
    }

    #[test]
    fn output_never_takes_more_than_its_maximum() {
        let mut output = Output::default();
        for length in [1, 1_500, 17_000, 3_000] {
            assert_eq!(output.collect(&[IoSlice::new(&vec![7; length])]), length);
            assert!(!output.is_full() && output.memory() <= MAX_COLLECTED);
        }
        assert_eq!(output.collect(&[IoSlice::new(&vec![7; 20_000])]), MAX_COLLECTED - 21_501);
        assert!(output.is_full());
        assert_eq!((output.collect(&[IoSlice::new(b"x")]), output.memory()), (0, MAX_COLLECTED));
    }

    #[test]
    fn socket_that_is_full_blocks_the_output_until_all_is_sent() {
        let (mut output, mut socket) = (Output::default(), Socket { room: 60, ..Socket::default() });
        output.collect(&[IoSlice::new(&[7; 100])]);
        assert_eq!(send(&mut output, &mut socket), (60, false));
        assert!(output.is_blocked());
        assert_eq!(send(&mut output, &mut socket), (0, false));
        socket.room = 40;
        assert_eq!(send(&mut output, &mut socket), (40, true));
        assert!(!output.is_blocked());
        assert_eq!(socket.writes, [100, 40, 40, 40]);
    }
}
