//! Follows TLS records (RFC 8446, section 5.1) through the pieces in which they arrive.

/// Bytes of a record before its contents: type, version and length.
const HEADER: usize = 5;

/// The record that is arriving.
#[derive(Debug, Default)]
pub(super) struct Records {
    header: [u8; HEADER],
    /// Bytes of it that have arrived.
    arrived: usize,
}

impl Records {
    /// Follows more bytes.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let wanted = (self.length() - self.arrived).min(bytes.len());
            let (now, rest) = bytes.split_at(wanted);
            if let Some(header) = self.header.get_mut(self.arrived..self.arrived + wanted) {
                header.copy_from_slice(now);
            }
            self.arrived += wanted;
            if self.arrived == self.length() {
                self.arrived = 0;
            }
            bytes = rest;
        }
    }

    /// Returns how many bytes of a record have arrived that is not complete.
    pub(super) fn incomplete(&self) -> usize {
        self.arrived
    }

    /// Returns the length of the record, as far as it is known.
    fn length(&self) -> usize {
        let [.., high, low] = self.header;
        if self.arrived < HEADER { HEADER } else { HEADER + usize::from(u16::from_be_bytes([high, low])) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incomplete_record_is_counted_whatever_the_pieces() {
        let record =
            |length: usize| [&[23, 3, 3], &u16::try_from(length).unwrap().to_be_bytes()[..], &vec![7; length]].concat();
        let complete = [record(300), record(0), record(16_000), record(1)].concat();
        let bytes = [complete.clone(), record(16_000)].concat();
        for piece in [1, 2, 4, 5, 6, 299, 4_096, 40_000] {
            for part in [0, 1, 4, 5, 6, 9_000, 16_004] {
                let mut records = Records::default();
                bytes[..complete.len() + part].chunks(piece).for_each(|piece| records.follow(piece));
                assert_eq!(records.incomplete(), part, "in pieces of {piece}");
            }
        }
    }
}
