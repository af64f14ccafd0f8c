//! Bytes that TLS keeps of unproved connections.

use super::connection::Unproved;

/// Bytes of a connection in TLS, which count until it is dropped or the connection is proved.
#[derive(Debug)]
pub struct UnprovedTlsBytes {
    connection: Unproved,
    bytes: usize,
}

impl UnprovedTlsBytes {
    /// Counts `bytes`.
    #[must_use]
    pub fn hold(connection: &Unproved, bytes: usize) -> Self {
        connection.account().charge(bytes);
        Self { connection: connection.clone(), bytes }
    }
}

impl Drop for UnprovedTlsBytes {
    fn drop(&mut self) {
        self.connection.account().release(self.bytes);
    }
}
