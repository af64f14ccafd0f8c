//! Rewrites the `:authority` header of gRPC clients on Unix sockets that send the path of the socket in it.
//!
//! Those with gRPC C-core (Python, Ruby, PHP, C++) send it percent-encoded, grpc-java as it is. h2 rejects both as malformed before any
//! layer could correct it. So the rewriter replaces `%` by `-` in that one header as the bytes arrive, and in a value that begins with
//! `/` also every `/`: the length stays, and nothing is re-encoded. The value has no use, because a Unix socket has one server. Every
//! other byte passes unchanged, and bytes that are not understood are left to h2.
//!
//! Once the header is in HPACK's dynamic table, clients refer to it: few blocks have one of the two bytes. A block that arrives whole
//! and without them is not parsed.
//! (<https://github.com/hyperium/h2/pull/487>, <https://github.com/grpc/grpc/pull/38142>)

use self::hpack::BlockParser;
use super::frames::{CONTINUATION, END_HEADERS, FrameHeader, HEADERS};

mod hpack;

const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Follows header blocks through their frames and rewrites them in place.
#[derive(Debug, Default)]
pub(super) struct AuthorityRewriter {
    part: Part,
    block: BlockParser,
}

/// The position within the payload of a frame.
#[derive(Debug, Default)]
enum Part {
    /// Outside of header blocks.
    #[default]
    Other,
    /// Before the byte that holds the length of the padding. `length` counts the payload, `before` the bytes between it and the block.
    PadLength { length: usize, before: usize, whole: bool },
    /// `before` bytes ahead of the block, of which `block` bytes are missing; the rest is padding. `whole`: these are all of a block.
    Block { before: usize, block: usize, whole: bool },
}

impl AuthorityRewriter {
    /// A frame starts.
    pub(super) fn header(&mut self, FrameHeader { length, kind, flags }: FrameHeader) {
        let before = if flags & PRIORITY == 0 { 0 } else { 5 };
        let whole = flags & END_HEADERS != 0;
        self.part = match kind {
            HEADERS if flags & PADDED != 0 => Part::PadLength { length, before, whole },
            HEADERS => Part::Block { before, block: length.saturating_sub(before), whole },
            CONTINUATION => Part::Block { before: 0, block: length, whole: false },
            _ => Part::Other,
        };
    }

    /// A part of its payload arrives.
    pub(super) fn payload(&mut self, mut bytes: &mut [u8]) {
        if let (Part::PadLength { length, before, whole }, Some(padding)) = (&self.part, bytes.first()) {
            let block = length.saturating_sub(1 + before + usize::from(*padding));
            self.part = Part::Block { before: *before, block, whole: *whole };
            bytes = &mut bytes[1..];
        }
        if let Part::Block { before, block, whole } = &mut self.part {
            let begin = consume(before, bytes.len());
            let end = begin + consume(block, bytes.len() - begin);
            *whole &= *block == 0;
            let bytes = &mut bytes[begin..end];
            if !*whole || bytes.iter().any(|byte| matches!(byte, b'%' | b'/')) {
                self.block.rewrite(bytes);
            }
        }
    }
}

/// Takes up to `available` bytes off `left`; returns how many.
fn consume(left: &mut usize, available: usize) -> usize {
    let consumed = available.min(*left);
    *left -= consumed;
    consumed
}

#[cfg(test)]
mod tests;
