//! The account of one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::task::AtomicWaker;

use crate::limits::origin::Origin;

/// What a connection holds.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) origin: Origin,
    /// All bytes that count for the connection.
    pub(super) bytes: AtomicUsize,
    /// Those among them that no handler has read.
    pub(super) unread: AtomicUsize,
    /// Requests whose message may still be read.
    pub(super) bodies: AtomicUsize,
    /// The bytes of all connections of the origin.
    pub(super) of_origin: Arc<AtomicUsize>,
    /// Whether the connection must be closed.
    is_closing: AtomicBool,
    /// The task of the connection.
    pub(super) task: AtomicWaker,
}

impl Account {
    pub(super) fn new(origin: Origin, of_origin: Arc<AtomicUsize>) -> Self {
        Self {
            origin,
            bytes: AtomicUsize::default(),
            unread: AtomicUsize::default(),
            bodies: AtomicUsize::default(),
            of_origin,
            is_closing: AtomicBool::default(),
            task: AtomicWaker::new(),
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
        self.task.wake();
    }
}
