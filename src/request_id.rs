//! Request IDs, which join the error that a caller sees with the log lines about its request.

use std::fmt;

/// A request ID: 128 random bits. Not a secret; two requests are only unlikely to have the same one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId(u128);

impl RequestId {
    /// Returns a new ID.
    #[must_use]
    pub fn random() -> Self {
        Self(fastrand::u128(..))
    }

    /// Returns the text of the ID, without an allocation.
    pub(crate) fn hex(self) -> [u8; 32] {
        // Without a table, so that the compiler uses vectors.
        let digit = |half: u8| half + if half < 10 { b'0' } else { b'a' - 10 };
        let mut text = [0; 32];
        for (digits, byte) in text.chunks_exact_mut(2).zip(self.0.to_be_bytes()) {
            (digits[0], digits[1]) = (digit(byte >> 4), digit(byte & 0xf));
        }
        text
    }

    /// Returns the ID that another broker wrote.
    #[must_use]
    pub fn of(id: u128) -> Self {
        Self(id)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
