//! Lets gRPC C-core clients (Python, Ruby, PHP, C++) in over a Unix socket.
//!
//! They send the percent-encoded socket path as `:authority`, which h2 refuses as malformed, and nothing behind h2 can mend that.
//! So the `%` of that one header is made a `-` as the bytes come in: the same length, no re-encoding, and the value has no use,
//! for a Unix socket has one server. Everything else passes untouched, and a peer whose bytes are not understood is left to h2.
//! (<https://github.com/hyperium/h2/pull/487>, <https://github.com/grpc/grpc/pull/38142>)

use self::hpack::Block;
use super::frames::{CONTINUATION, HEADERS, Head};

mod hpack;

const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Follows header blocks through the frames that they come in, and changes them in place.
#[derive(Debug, Default)]
pub(in crate::server) struct AuthorityRewriter {
    part: Part,
    block: Block,
}

/// Where in a frame's payload the bytes are.
#[derive(Debug, Default)]
enum Part {
    /// In none that matters.
    #[default]
    Other,
    /// The next byte is the length of the padding: the rest of the frame, and what stands before its block.
    PadLength { rest: usize, before: usize },
    /// This much to skip, then this much of a block; then what there is to skip.
    Block { before: usize, block: usize },
}

impl AuthorityRewriter {
    pub(in crate::server) fn head(&mut self, Head { length, kind, flags }: Head) {
        let before = if flags & PRIORITY == 0 { 0 } else { 5 };
        self.part = match kind {
            HEADERS if flags & PADDED != 0 => Part::PadLength { rest: length, before },
            HEADERS => Part::Block { before, block: length.saturating_sub(before) },
            CONTINUATION => Part::Block { before: 0, block: length },
            _ => Part::Other,
        };
    }

    pub(in crate::server) fn payload(&mut self, mut bytes: &mut [u8]) {
        if let (Part::PadLength { rest, before }, Some(padding)) = (&self.part, bytes.first()) {
            let block = rest.saturating_sub(1 + before + usize::from(*padding));
            self.part = Part::Block { before: *before, block };
            bytes = &mut bytes[1..];
        }
        if let Part::Block { before, block } = &mut self.part {
            let begin = skip(before, bytes.len());
            let end = begin + skip(block, bytes.len() - begin);
            self.block.repair(&mut bytes[begin..end]);
        }
    }
}

/// Takes so many of what is left, if there are as many.
fn skip(rest: &mut usize, bytes: usize) -> usize {
    let taken = bytes.min(*rest);
    *rest -= taken;
    taken
}

#[cfg(test)]
mod tests;
