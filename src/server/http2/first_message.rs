//! Finds the end of a request's first message: gRPC puts a flag and the length before each.

use crate::protocol::MAX_REQUEST_BYTES;

/// Bytes before a message: the flag of compression, and the length.
const PREFIX: usize = 5;

/// The first message of a body, as far as it has been read.
#[derive(Debug, Default)]
pub(super) struct FirstMessage {
    prefix: [u8; PREFIX],
    read: usize,
}

impl FirstMessage {
    /// Notes bytes that were read.
    pub(super) fn note_read(&mut self, bytes: &[u8]) {
        if let Some(left) = self.prefix.get_mut(self.read..) {
            let count = left.len().min(bytes.len());
            left[..count].copy_from_slice(&bytes[..count]);
        }
        self.read += bytes.len();
    }

    /// Returns whether all of the message was read.
    pub(super) fn is_complete(&self) -> bool {
        self.read.checked_sub(PREFIX).is_some_and(|message| message >= self.announced())
    }

    /// Returns how many of the bytes that were read are beyond the message.
    pub(super) fn excess(&self) -> usize {
        if self.read < PREFIX { 0 } else { (self.read - PREFIX).saturating_sub(self.announced()) }
    }

    /// Returns whether the message is longer than any that is accepted. Its handler says so at once.
    pub(super) fn is_too_large(&self) -> bool {
        self.announced() > MAX_REQUEST_BYTES
    }

    /// Returns the length of the message, as far as its bytes have been read.
    fn announced(&self) -> usize {
        let [_, length @ ..] = self.prefix;
        usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_too_large_as_soon_as_its_length_says_so() {
        let mut message = FirstMessage::default();
        message.note_read(&[0, 0, 1, 0, 0]);
        assert!(!message.is_too_large(), "64 KiB");
        message = FirstMessage::default();
        message.note_read(&[0, 0, 2]);
        assert!(message.is_too_large(), "128 KiB or more");
    }

    #[test]
    fn message_is_complete_with_its_last_byte_whatever_the_pieces() {
        for bytes in [&b"\0\0\0\0\x03abc"[..], b"\x01\0\0\0\0"] {
            for piece in 1..=bytes.len() {
                let mut message = FirstMessage::default();
                for (number, piece) in bytes.chunks(piece).enumerate() {
                    assert!(!message.is_complete(), "{number}");
                    message.note_read(piece);
                }
                assert!(message.is_complete() && message.excess() == 0, "in pieces of {piece}");
                message.note_read(b"more");
                assert!(message.is_complete() && message.excess() == 4);
            }
        }
    }
}
