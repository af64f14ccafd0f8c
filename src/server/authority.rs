//! Lets gRPC C-core clients (Python, Ruby, PHP, C++) in over a Unix socket.
//!
//! They send the percent-encoded socket path as `:authority`, which h2 refuses as malformed, and nothing behind h2 can mend that.
//! So the `%` of that one header is made a `-` as the bytes come in: the same length, no re-encoding, and the value has no use,
//! for a Unix socket has one server. Everything else passes untouched, and a peer whose bytes are not understood is left to h2.
//! (<https://github.com/hyperium/h2/pull/487>, <https://github.com/grpc/grpc/pull/38142>)

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use self::hpack::Block;
use super::write_through::write_through;

mod hpack;

const PREFACE: usize = 24;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A stream whose incoming `:authority` is mended.
#[derive(Debug)]
pub(super) struct RepairAuthority<S> {
    inner: S,
    frames: Frames,
}

/// Follows the frames of HTTP/2 through whatever pieces they arrive in, and changes header blocks in place.
#[derive(Debug)]
struct Frames {
    state: State,
    block: Block,
}

#[derive(Debug)]
enum State {
    /// This much is neither a frame's head nor part of a header block; then a frame's head follows.
    Skip(usize),
    /// A frame's head, as far as it has come.
    Head([u8; 9], usize),
    /// The length of the padding of a header frame: the rest of the frame, and what stands before its block.
    PadLength { rest: usize, before: usize },
    /// A header frame: this much to skip, then this much of a block, then this much to skip.
    Block { before: usize, block: usize, after: usize },
}

impl<S> RepairAuthority<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, frames: Frames { state: State::Skip(PREFACE), block: Block::default() } }
    }
}

impl Frames {
    fn repair(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = self.step(bytes);
            bytes = &mut bytes[taken..];
        }
    }

    /// Takes some of the bytes, at least one.
    fn step(&mut self, bytes: &mut [u8]) -> usize {
        match &mut self.state {
            State::Skip(rest) => {
                let taken = bytes.len().min(*rest);
                *rest -= taken;
                if *rest == 0 {
                    self.state = State::Head([0; 9], 0);
                }
                taken
            }
            State::Head(head, have) => {
                head[*have] = bytes[0];
                *have += 1;
                if *have == head.len() {
                    self.state = State::after(head);
                }
                1
            }
            State::PadLength { rest, before } => {
                let padding = usize::from(bytes[0]);
                let block = rest.saturating_sub(1 + *before + padding);
                self.state = State::Block { before: *before, block, after: padding }.settled();
                1
            }
            State::Block { before, block, after } => {
                let taken = if *before > 0 {
                    skip(before, bytes)
                } else if *block > 0 {
                    let taken = skip(block, bytes);
                    self.block.repair(&mut bytes[..taken]);
                    taken
                } else {
                    skip(after, bytes)
                };
                if *before + *block + *after == 0 {
                    self.state = State::Head([0; 9], 0);
                }
                taken
            }
        }
    }
}

fn skip(rest: &mut usize, bytes: &[u8]) -> usize {
    let taken = bytes.len().min(*rest);
    *rest -= taken;
    taken
}

impl State {
    /// What follows a frame's head.
    fn after(head: &[u8; 9]) -> Self {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        let before = if flags & PRIORITY == 0 { 0 } else { 5 };
        match kind {
            HEADERS if flags & PADDED != 0 => Self::PadLength { rest: length, before },
            HEADERS => Self::Block { before, block: length.saturating_sub(before), after: 0 },
            CONTINUATION => Self::Block { before: 0, block: length, after: 0 },
            _ => Self::Skip(length),
        }
        .settled()
    }

    /// An empty part is no state to be in.
    fn settled(self) -> Self {
        match self {
            Self::Skip(0) | Self::Block { before: 0, block: 0, after: 0 } => Self::Head([0; 9], 0),
            other => other,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for RepairAuthority<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        self.frames.repair(&mut buffer.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

write_through!(RepairAuthority);

#[cfg(test)]
mod tests;
