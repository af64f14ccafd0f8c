//! Calls of unproved connections.

use tokio::sync::OwnedSemaphorePermit;

use super::connection::Unproved;

/// Memory of a call until it is served: its stream, its task and the table of its headers.
const WAITING_BYTES: usize = 16 * 1024;
/// Memory of a call that is served, with the buffers of its messages.
const SERVED_BYTES: usize = 40 * 1024;

/// A call of an unproved connection, which counts until it is dropped.
#[derive(Debug)]
pub struct UnprovedCall {
    connection: Unproved,
    bytes: usize,
}

/// A health watch of an unproved connection, which counts until it is dropped.
#[derive(Debug)]
pub struct HealthWatch(#[expect(dead_code, reason = "dropping it ends the watch")] OwnedSemaphorePermit);

impl UnprovedCall {
    /// Counts a call whose headers take `headers` bytes.
    #[must_use]
    pub fn begin(connection: &Unproved, headers: usize) -> Self {
        connection.begin_call();
        let mut call = Self { connection: connection.clone(), bytes: 0 };
        // Names and values are kept beside a table of them.
        call.charge(WAITING_BYTES + 2 * headers);
        call
    }

    /// Counts the memory of a handler.
    pub fn note_serving(&mut self) {
        self.charge(SERVED_BYTES);
    }

    fn charge(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.connection.account().charge(bytes);
    }
}

impl Drop for UnprovedCall {
    fn drop(&mut self) {
        self.connection.account().release(self.bytes);
        if self.connection.end_call() {
            self.connection.account().discard_unread();
        }
    }
}

impl HealthWatch {
    /// Counts a health watch; `None` if the connection has enough.
    #[must_use]
    pub fn begin(connection: &Unproved) -> Option<Self> {
        connection.try_health_watch().map(Self)
    }
}
