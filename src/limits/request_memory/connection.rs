//! The connections, and what they hold.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::account::Account;
use super::registry::Registry;
use crate::clock::Clock;
use crate::limits::hits::LimitHits;
use crate::limits::origin::Origin;

/// Bytes of requests that a peer may send before the broker reads them: the connection window.
const MAX_UNREAD: usize = 256 * 1024;

/// The memory of all requests. A clone is a handle of the same.
#[derive(Debug, Clone)]
pub struct RequestMemory(Arc<Registry>);

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
    id: u64,
    account: Arc<Account>,
    registry: Arc<Registry>,
}

impl RequestMemory {
    /// Starts with no connection.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, hits: LimitHits) -> Self {
        Self(Arc::new(Registry::new(clock, hits)))
    }

    /// Opens the account of a connection from `origin`.
    #[must_use]
    pub fn enter(&self, origin: Origin) -> ConnectionMemory {
        let (id, account) = self.0.enter(|of_origin| Account::new(origin, of_origin), origin);
        ConnectionMemory(Arc::new(Connection { id, account, registry: Arc::clone(&self.0) }))
    }
}

impl ConnectionMemory {
    /// Completes when the connection must be closed. Only for the task of the connection.
    pub async fn closing(&self) {
        poll_fn(|context| {
            self.account().task.register(context.waker());
            if self.is_closing() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Returns whether the connection must be closed.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.account().is_closing()
    }

    /// Returns whether nothing more may be read from the connection, until memory is given back.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.0.registry.is_exhausted(self.account())
    }

    /// Counts `bytes` until the result is dropped.
    #[must_use]
    pub fn hold(&self, bytes: usize) -> HeldMemory {
        self.charge(bytes);
        HeldMemory { connection: self.clone(), bytes }
    }

    /// Notes bytes of messages that arrive. Only for the task of the connection.
    pub fn note_received(&self, bytes: usize) {
        let unread = &self.account().unread;
        let bytes = bytes.min(MAX_UNREAD.saturating_sub(unread.load(Ordering::Relaxed)));
        unread.fetch_add(bytes, Ordering::Relaxed);
        self.charge(bytes);
    }

    /// Notes that every request of which the headers had arrived has reached its handler. Without a request that may read them, the
    /// unread bytes are gone. Only for the task of the connection.
    pub fn note_turn(&self) {
        let Account { unread, bodies, .. } = self.account();
        if unread.load(Ordering::Relaxed) > 0 && bodies.load(Ordering::Relaxed) == 0 {
            self.release(unread.swap(0, Ordering::Relaxed));
        }
    }

    /// Notes bytes that a handler has read, and now holds.
    pub(super) fn note_read(&self, bytes: usize) {
        let unread = &self.account().unread;
        let take = |unread: usize| Some(unread.saturating_sub(bytes));
        let before = unread.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).unwrap_or_default();
        self.charge(bytes.saturating_sub(before));
    }

    pub(super) fn charge(&self, bytes: usize) {
        if bytes > 0 {
            self.0.registry.charge(self.account(), bytes);
        }
    }

    pub(super) fn release(&self, bytes: usize) {
        self.0.registry.release(self.account(), bytes);
    }

    pub(super) fn account(&self) -> &Account {
        &self.0.account
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        self.connection.release(self.bytes);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.registry.leave(self.id, &self.account);
    }
}
