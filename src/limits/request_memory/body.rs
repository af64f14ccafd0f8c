//! The body of a request.

use super::connection::ConnectionMemory;

/// Memory of a call whose message is not decoded: its stream and its task.
const CALL_BYTES: usize = 20 * 1024;

/// The memory of a request's body, which counts until it is dropped: then its messages are decoded or discarded.
#[derive(Debug)]
pub struct BodyMemory {
    connection: ConnectionMemory,
    /// Bytes of messages that the handler holds at most.
    limit: usize,
    read: usize,
    /// Whether a message was not complete after a while.
    is_unfinished: bool,
}

impl BodyMemory {
    /// Counts a body whose handler holds at most `limit` bytes that it has not decoded. Only for the task of the connection.
    #[must_use]
    pub fn begin(connection: &ConnectionMemory, limit: usize) -> Self {
        connection.begin_body();
        // At once, and not when its task first runs: until then every connection could add a hundred calls.
        connection.started().charge(CALL_BYTES);
        Self { connection: connection.clone(), limit, read: 0, is_unfinished: false }
    }

    /// Notes that a message is not complete after a while. Calls of usual clients are decoded in a moment and delay others at most; this
    /// one can last, so that it counts among what closes connections.
    pub fn note_unfinished(&mut self) {
        if !self.is_unfinished {
            self.is_unfinished = true;
            self.connection.account().charge(CALL_BYTES);
            self.connection.started().release(CALL_BYTES);
        }
    }

    /// Notes bytes that the handler has read.
    pub fn note_read(&mut self, bytes: usize) {
        self.connection.note_read(bytes);
        let decoded = (self.read + bytes).saturating_sub(self.limit);
        self.read += bytes - decoded;
        self.connection.account().release(decoded);
    }
}

impl Drop for BodyMemory {
    fn drop(&mut self) {
        let of_call = if self.is_unfinished { self.connection.account() } else { self.connection.started() };
        of_call.release(CALL_BYTES);
        self.connection.account().release(self.read);
        self.connection.end_body();
    }
}
