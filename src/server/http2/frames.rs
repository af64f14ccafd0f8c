//! Parses HTTP/2 frames (RFC 9113, section 4) out of the pieces in which a connection's bytes arrive.

pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
pub(super) const SETTINGS: u8 = 0x4;
pub(super) const CONTINUATION: u8 = 0x9;
/// Flag of a SETTINGS frame.
pub(super) const ACK: u8 = 0x1;
/// Flag of the frame that ends a header block.
pub(super) const END_HEADERS: u8 = 0x4;

/// The parts of a frame header that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Length of the payload, in bytes.
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
}

/// The position in a stream of frames. It starts behind the preface.
#[derive(Debug, Default)]
pub(super) struct FrameParser {
    header: [u8; 9],
    /// Bytes of the header that have arrived.
    header_length: usize,
    /// Bytes of the payload that have not arrived.
    payload_left: usize,
}

/// Receives the parts of each frame, and may change the payload in place.
pub(super) trait FrameVisitor {
    /// A frame starts.
    fn header(&mut self, header: FrameHeader);

    /// A part of its payload arrives.
    fn payload(&mut self, bytes: &mut [u8]);

    /// The frame ends.
    fn end(&mut self);
}

impl FrameParser {
    /// Shows the frames in `bytes` to the visitor.
    pub(super) fn parse(&mut self, mut bytes: &mut [u8], visitor: &mut impl FrameVisitor) {
        while !bytes.is_empty() {
            let parsed = if self.header_length < self.header.len() {
                self.parse_header(bytes, visitor)
            } else {
                self.parse_payload(bytes, visitor)
            };
            bytes = &mut bytes[parsed..];
            if self.header_length == self.header.len() && self.payload_left == 0 {
                self.header_length = 0;
                visitor.end();
            }
        }
    }

    /// Whether a frame has started and not ended.
    pub(super) fn is_within_frame(&self) -> bool {
        self.header_length > 0
    }

    fn parse_header(&mut self, bytes: &[u8], visitor: &mut impl FrameVisitor) -> usize {
        let parsed = bytes.len().min(self.header.len() - self.header_length);
        self.header[self.header_length..][..parsed].copy_from_slice(&bytes[..parsed]);
        self.header_length += parsed;
        if let (9, [a, b, c, kind, flags, ..]) = (self.header_length, self.header) {
            self.payload_left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            visitor.header(FrameHeader { length: self.payload_left, kind, flags });
        }
        parsed
    }

    fn parse_payload(&mut self, bytes: &mut [u8], visitor: &mut impl FrameVisitor) -> usize {
        let parsed = bytes.len().min(self.payload_left);
        self.payload_left -= parsed;
        visitor.payload(&mut bytes[..parsed]);
        parsed
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// Writes down what it sees.
    #[derive(Default)]
    struct Transcript(String);

    impl FrameVisitor for Transcript {
        fn header(&mut self, FrameHeader { length, kind, flags }: FrameHeader) {
            write!(self.0, "[{kind}/{flags} {length}:").unwrap();
        }

        fn payload(&mut self, bytes: &mut [u8]) {
            self.0 += str::from_utf8(bytes).unwrap();
        }

        fn end(&mut self) {
            self.0 += "]";
        }
    }

    #[test]
    fn frames_are_parsed_from_pieces_of_any_size() {
        let bytes = b"\0\0\x03\x01\x04\0\0\0\x01abc\0\0\0\x04\x01\0\0\0\0\0\x01\x00\0\0\0\0\0\0";
        let long = [&bytes[..], &b"x".repeat(256), b"\0\0"].concat();
        for piece in [1, 2, 3, 8, 9, 10, 1000] {
            let (mut parser, mut transcript) = (FrameParser::default(), Transcript::default());
            long.clone().chunks_mut(piece).for_each(|piece| parser.parse(piece, &mut transcript));
            let expected = format!("[1/4 3:abc][4/1 0:][0/0 256:{}]", "x".repeat(256));
            assert_eq!(transcript.0, expected, "in pieces of {piece}");
            assert!(parser.is_within_frame());
        }
    }
}
