//! The body of a request.

use super::connection::ConnectionMemory;
use crate::protocol::MAX_REQUEST_BYTES;

/// Memory of a call whose message is not complete: its stream, its task and its buffer.
const WAITING_BYTES: usize = 12 * 1024;

/// The memory of a request's body, which counts until it is dropped: then its messages are decoded or discarded.
#[derive(Debug)]
pub struct BodyMemory {
    connection: ConnectionMemory,
    /// Bytes of messages that the handler holds at most.
    limit: usize,
    read: usize,
    waiting: usize,
}

impl BodyMemory {
    /// Counts a body whose handler holds at most `limit` bytes that it has not decoded. Only for the task of the connection.
    #[must_use]
    pub fn begin(connection: &ConnectionMemory, limit: usize) -> Self {
        connection.begin_body();
        Self { connection: connection.clone(), limit, read: 0, waiting: 0 }
    }

    /// Notes bytes that the handler has read.
    pub fn note_read(&mut self, bytes: usize) {
        self.connection.note_read(bytes);
        let decoded = (self.read + bytes).saturating_sub(self.limit);
        self.read += bytes - decoded;
        self.connection.account().release(decoded);
    }

    /// Notes that the handler waits for more bytes, with a buffer for a message of `announced` bytes.
    pub fn note_waiting(&mut self, announced: usize) {
        let more = (WAITING_BYTES + announced.min(MAX_REQUEST_BYTES)).saturating_sub(self.waiting);
        self.waiting += more;
        self.connection.account().charge(more);
    }
}

impl Drop for BodyMemory {
    fn drop(&mut self) {
        self.connection.account().release(self.read + self.waiting);
        self.connection.end_body();
    }
}
