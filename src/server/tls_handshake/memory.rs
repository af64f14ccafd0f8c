//! What TLS keeps of a connection counts in the limits of its peer.

use crate::limits::{ConnectionMemory, HeldMemory, Unproved, UnprovedTlsBytes};

/// The limits of a connection: of an unproved one, or of a proved one. A clone is a handle of the same.
#[derive(Debug, Clone)]
pub(in crate::server) struct TlsMemory {
    /// Counts until the peer has proved who it is.
    pub(in crate::server) unproved: Option<Unproved>,
    /// Counts from then on; `None` for peers that never prove it.
    pub(in crate::server) proved: Option<ConnectionMemory>,
}

/// Bytes that count until it is dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "dropping it gives the bytes back")]
pub(super) enum HeldBytes {
    Unproved(UnprovedTlsBytes),
    Proved(HeldMemory),
}

impl TlsMemory {
    pub(super) fn hold(&self, bytes: usize) -> Option<HeldBytes> {
        match self.unproved.as_ref().filter(|connection| !connection.is_proved()) {
            Some(connection) => Some(HeldBytes::Unproved(UnprovedTlsBytes::hold(connection, bytes))),
            None => self.proved.as_ref().map(|memory| HeldBytes::Proved(memory.hold(bytes))),
        }
    }
}
