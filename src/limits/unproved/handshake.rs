//! TLS handshakes of unproved connections.

use super::connection::Unproved;

/// The handshake of a connection, whose bytes count until it is dropped.
#[derive(Debug)]
pub struct UnprovedHandshake {
    connection: Option<Unproved>,
    bytes: usize,
}

impl UnprovedHandshake {
    /// Counts nothing for a connection that needs no proof.
    #[must_use]
    pub fn begin(connection: Option<&Unproved>) -> Self {
        Self { connection: connection.cloned(), bytes: 0 }
    }

    /// Counts bytes that the peer has sent.
    pub fn note_read(&mut self, bytes: usize) {
        if let Some(connection) = &self.connection {
            self.bytes += bytes;
            connection.account().charge(bytes);
        }
    }
}

impl Drop for UnprovedHandshake {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.account().release(self.bytes);
        }
    }
}
