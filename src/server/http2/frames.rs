//! The frames of HTTP/2 (RFC 9113, section 4), followed through whatever pieces a connection's bytes arrive in.

pub(in crate::server) const HEADERS: u8 = 0x1;
pub(in crate::server) const SETTINGS: u8 = 0x4;
pub(in crate::server) const CONTINUATION: u8 = 0x9;
/// Of a SETTINGS frame.
pub(in crate::server) const ACK: u8 = 0x1;
/// Of a header frame: its block ends with it.
pub(in crate::server) const END_HEADERS: u8 = 0x4;

/// How a frame begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct Head {
    /// Of what follows, in bytes.
    pub(in crate::server) length: usize,
    pub(in crate::server) kind: u8,
    pub(in crate::server) flags: u8,
}

/// Where in the frames the bytes are; at first, behind the preface.
#[derive(Debug, Default)]
pub(in crate::server) struct Frames {
    head: [u8; 9],
    /// How much of the head has come.
    have: usize,
    /// How much of the payload has not.
    rest: usize,
}

/// Whoever looks at the frames as they pass, and may change what is in them.
pub(in crate::server) trait Watch {
    /// A frame begins.
    fn head(&mut self, head: Head);

    /// Some of its payload.
    fn payload(&mut self, bytes: &mut [u8]);

    /// It is over.
    fn end(&mut self);
}

impl Frames {
    pub(in crate::server) fn follow(&mut self, mut bytes: &mut [u8], watch: &mut impl Watch) {
        while !bytes.is_empty() {
            let taken = if self.have < self.head.len() { self.begin(bytes, watch) } else { self.go_on(bytes, watch) };
            bytes = &mut bytes[taken..];
            if self.have == self.head.len() && self.rest == 0 {
                self.have = 0;
                watch.end();
            }
        }
    }

    /// Whether a frame has begun and is not over.
    pub(in crate::server) fn is_amid(&self) -> bool {
        self.have > 0
    }

    fn begin(&mut self, bytes: &[u8], watch: &mut impl Watch) -> usize {
        let taken = bytes.len().min(self.head.len() - self.have);
        self.head[self.have..][..taken].copy_from_slice(&bytes[..taken]);
        self.have += taken;
        if let (9, [a, b, c, kind, flags, ..]) = (self.have, self.head) {
            self.rest = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            watch.head(Head { length: self.rest, kind, flags });
        }
        taken
    }

    fn go_on(&mut self, bytes: &mut [u8], watch: &mut impl Watch) -> usize {
        let taken = bytes.len().min(self.rest);
        self.rest -= taken;
        watch.payload(&mut bytes[..taken]);
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// What was seen, as text.
    #[derive(Default)]
    struct Seen(String);

    impl Watch for Seen {
        fn head(&mut self, Head { length, kind, flags }: Head) {
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
    fn frames_are_found_in_whatever_pieces_they_arrive() {
        let bytes = b"\0\0\x03\x01\x04\0\0\0\x01abc\0\0\0\x04\x01\0\0\0\0\0\x01\x00\0\0\0\0\0\0";
        let long = [&bytes[..], &b"x".repeat(256), b"\0\0"].concat();
        for piece in [1, 2, 3, 8, 9, 10, 1000] {
            let (mut frames, mut seen) = (Frames::default(), Seen::default());
            long.clone().chunks_mut(piece).for_each(|piece| frames.follow(piece, &mut seen));
            assert_eq!(seen.0, format!("[1/4 3:abc][4/1 0:][0/0 256:{}]", "x".repeat(256)), "in pieces of {piece}");
            assert!(frames.is_amid());
        }
    }
}
