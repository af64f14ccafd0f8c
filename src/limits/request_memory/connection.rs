//! The connections, and what they hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use crate::clock::Clock;
use crate::limits::hits::{LimitHits, LimitName};
use crate::limits::memory::{Account, Budget, Limit};
use crate::limits::origin::Origin;

/// Bytes of an origin that are few: six calls that have started. An honest one seldom has more, and attackers need a hundred origins.
const FEW: usize = 128 * 1024;
/// Bytes of all connections together, and of those of one origin.
pub(super) const LIMIT: Limit = Limit {
    all: 32 * 1024 * 1024,
    of_origin: 8 * 1024 * 1024,
    name: LimitName::RequestMemory,
    of_holders: 1,
    few: FEW,
    all_for_few: 36 * 1024 * 1024,
    event: Some("connection closed: too much memory for unanswered requests"),
};
/// Bytes of calls that have just started. Their messages arrive in a moment, so that other connections wait and none is closed.
pub(super) const STARTED: Limit = Limit {
    all: 6 * 1024 * 1024,
    of_origin: 4 * 1024 * 1024,
    of_holders: 2,
    few: FEW,
    all_for_few: 16 * 1024 * 1024,
    name: LimitName::RequestMemory,
    event: None,
};
/// Bytes of requests that a peer may send before the broker reads them: the connection window.
const WINDOW: usize = 256 * 1024;

/// The memory of all requests. A clone is a handle of the same.
#[derive(Debug, Clone)]
pub struct RequestMemory {
    held: Budget,
    started: Budget,
}

/// The memory of a connection's requests. It counts until the last handle is dropped.
#[derive(Debug, Clone)]
pub struct ConnectionMemory(Arc<Connection>);

/// Memory that counts until it is dropped.
#[derive(Debug)]
pub struct HeldMemory {
    connection: ConnectionMemory,
    bytes: usize,
}

#[derive(Debug)]
struct Connection {
    account: Account,
    started: Account,
    /// Requests whose message may still be read.
    bodies: AtomicUsize,
}

impl RequestMemory {
    /// Starts with no connection.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, hits: LimitHits) -> Self {
        Self { held: Budget::new(LIMIT, Arc::clone(&clock), hits.clone()), started: Budget::new(STARTED, clock, hits) }
    }

    /// Opens the account of a connection from `origin`.
    #[must_use]
    pub fn enter(&self, origin: Origin) -> ConnectionMemory {
        let [account, started] = [&self.held, &self.started].map(|budget| Account::open(budget, origin, WINDOW));
        ConnectionMemory(Arc::new(Connection { account, started, bodies: AtomicUsize::default() }))
    }
}

impl ConnectionMemory {
    /// Completes when the connection must be closed. Only for its task, and to be polled after the connection.
    pub async fn closing(&self) {
        tokio::select! {
            biased;
            () = self.account().closing() => {}
            () = self.started().closing() => {}
        }
    }

    /// Returns whether the connection must be closed.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.account().is_closing()
    }

    /// Completes when more may be read from the connection: others have given enough memory back. Only for its task.
    pub fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        ready!(self.account().poll_room(context));
        self.started().poll_room(context)
    }

    /// Counts `bytes` until the result is dropped.
    #[must_use]
    pub fn hold(&self, bytes: usize) -> HeldMemory {
        self.account().charge(bytes);
        HeldMemory { connection: self.clone(), bytes }
    }

    /// Notes bytes of messages that arrive. Only for the task of the connection.
    pub fn note_received(&self, bytes: usize) {
        self.account().note_received(bytes);
    }

    /// Notes that every request of which the headers had arrived has reached its handler. Without a request that may read them, the
    /// unread bytes are gone. Only for the task of the connection.
    pub fn note_turn(&self) {
        if self.account().unread() > 0 && self.0.bodies.load(Ordering::Relaxed) == 0 {
            self.account().discard_unread();
        }
    }

    /// Notes bytes that a handler has read, and now holds.
    pub(super) fn note_read(&self, bytes: usize) {
        let counted = self.account().take_unread(bytes);
        self.account().charge(bytes - counted);
    }

    pub(super) fn begin_body(&self) {
        self.0.bodies.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end_body(&self) {
        self.0.bodies.fetch_sub(1, Ordering::Relaxed);
    }

    /// The account of calls that have started.
    pub(super) fn started(&self) -> &Account {
        &self.0.started
    }

    pub(super) fn account(&self) -> &Account {
        &self.0.account
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        self.connection.account().release(self.bytes);
    }
}
