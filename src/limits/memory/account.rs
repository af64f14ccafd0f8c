//! The account of one connection.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use super::balance::Balance;
use super::budget::Budget;
use crate::limits::origin::Origin;

/// What a connection holds of a budget. Dropping it gives everything back.
#[derive(Debug)]
pub(in crate::limits) struct Account {
    id: u64,
    budget: Budget,
    balance: Arc<Balance>,
    /// Those bytes that no handler has read.
    unread: AtomicUsize,
    /// The most that the peer may send before a handler reads it: the connection window.
    window: usize,
}

impl Account {
    /// Opens the account of a connection from `origin`.
    pub(in crate::limits) fn open(budget: &Budget, origin: Origin, window: usize) -> Self {
        let (id, balance) = budget.open(origin);
        Self { id, budget: budget.clone(), balance, unread: AtomicUsize::default(), window }
    }

    pub(in crate::limits) fn charge(&self, bytes: usize) {
        if bytes > 0 {
            self.budget.charge(&self.balance, bytes);
        }
    }

    pub(in crate::limits) fn release(&self, bytes: usize) {
        if bytes > 0 {
            self.budget.release(&self.balance, bytes);
        }
    }

    /// Gives everything back. Nothing counts from now on.
    pub(in crate::limits) fn leave(&self) {
        self.budget.leave(self.id, &self.balance);
    }

    /// Counts bytes of messages that arrive. Only for the task of the connection.
    pub(in crate::limits) fn note_received(&self, bytes: usize) {
        let bytes = bytes.min(self.window.saturating_sub(self.unread()));
        self.unread.fetch_add(bytes, Ordering::Relaxed);
        self.charge(bytes);
    }

    /// Notes bytes that a handler has read. Returns how many of them are counted: they are the handler's from now on.
    pub(in crate::limits) fn take_unread(&self, bytes: usize) -> usize {
        let take = |unread: usize| Some(unread.saturating_sub(bytes));
        let before = self.unread.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).unwrap_or_default();
        before.min(bytes)
    }

    /// Notes that no request is left whose handler could read.
    pub(in crate::limits) fn discard_unread(&self) {
        self.release(self.unread.swap(0, Ordering::Relaxed));
    }

    pub(in crate::limits) fn unread(&self) -> usize {
        self.unread.load(Ordering::Relaxed)
    }

    /// Returns whether the connection must be closed.
    pub(in crate::limits) fn is_closing(&self) -> bool {
        self.balance.is_closing()
    }

    /// Completes when the connection must be closed. Only for the task of the connection, and to be polled after the connection: if that
    /// was woken because there is room, and has read what it wants, the next one may.
    pub(in crate::limits) async fn closing(&self) {
        poll_fn(|context| {
            self.balance.task.register(context.waker());
            if self.is_closing() {
                return Poll::Ready(());
            }
            if self.balance.was_woken.load(Ordering::SeqCst) {
                self.balance.was_woken.store(false, Ordering::SeqCst);
                self.budget.note_room();
            }
            Poll::Pending
        })
        .await;
    }

    /// Completes when more may be read from the connection. Only for its task.
    pub(in crate::limits) fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        if !self.budget.is_exhausted(&self.balance) {
            return Poll::Ready(());
        }
        self.balance.task.register(context.waker());
        self.budget.pause(&self.balance);
        if self.budget.is_exhausted(&self.balance) { Poll::Pending } else { Poll::Ready(()) }
    }

    #[cfg(test)]
    pub(in crate::limits) fn bytes(&self) -> usize {
        self.balance.bytes()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.leave();
    }
}
