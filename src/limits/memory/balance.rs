//! Bytes of one account, of an origin, and of all together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::task::AtomicWaker;

use crate::limits::origin::Origin;

/// The state of an account shares a word with its bytes, so that each change of them counts in the state in which it happened.
const CLOSING: usize = 1 << (usize::BITS - 1);
const LEFT: usize = 1 << (usize::BITS - 2);
const BYTES: usize = LEFT - 1;

/// The bytes of several accounts. They are never less than what the accounts hold, not even for a moment.
#[derive(Debug, Default)]
pub(super) struct Count {
    held: AtomicUsize,
    /// Those among them that closed connections have not given back.
    closing: AtomicUsize,
}

/// What a connection holds.
#[derive(Debug)]
pub(super) struct Balance {
    pub(super) origin: Origin,
    /// The bytes of all accounts of the origin.
    pub(super) of_origin: Arc<Count>,
    state: AtomicUsize,
    /// The task of the connection.
    pub(super) task: AtomicWaker,
    /// Whether the connection waits among the paused ones. Changed under their lock.
    pub(super) is_paused: AtomicBool,
    /// Whether the connection was woken because there is room, and has not passed it on.
    pub(super) was_woken: AtomicBool,
}

impl Count {
    /// All bytes.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// The bytes of connections that are not closed.
    pub(super) fn live(&self) -> usize {
        self.held().saturating_sub(self.closing.load(Ordering::SeqCst))
    }

    fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::SeqCst);
    }

    fn note_closing(&self, bytes: usize) {
        self.closing.fetch_add(bytes, Ordering::SeqCst);
    }

    fn give_back(&self, bytes: usize, is_closing: bool) {
        if is_closing {
            self.closing.fetch_sub(bytes, Ordering::SeqCst);
        }
        self.held.fetch_sub(bytes, Ordering::SeqCst);
    }
}

impl Balance {
    pub(super) fn new(origin: Origin, of_origin: Arc<Count>) -> Self {
        Self {
            origin,
            of_origin,
            state: AtomicUsize::default(),
            task: AtomicWaker::new(),
            is_paused: AtomicBool::default(),
            was_woken: AtomicBool::default(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.state.load(Ordering::Relaxed) & BYTES
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state.load(Ordering::Relaxed) & CLOSING != 0
    }

    /// Returns whether the account counts nowhere any more.
    pub(super) fn has_left(&self) -> bool {
        self.state.load(Ordering::SeqCst) & LEFT != 0
    }

    /// Adds bytes, unless the account has left.
    pub(super) fn add(&self, bytes: usize, total: &Count) {
        self.of_origin.hold(bytes);
        total.hold(bytes);
        let before = self.state.fetch_add(bytes, Ordering::SeqCst);
        if before & LEFT != 0 {
            self.of_origin.give_back(bytes, false);
            total.give_back(bytes, false);
        } else if before & CLOSING != 0 {
            self.of_origin.note_closing(bytes);
            total.note_closing(bytes);
        }
    }

    /// Takes bytes away that were added before.
    pub(super) fn subtract(&self, bytes: usize, total: &Count) {
        let before = self.state.fetch_sub(bytes, Ordering::SeqCst);
        self.give_back(bytes, before, total);
    }

    /// Takes all bytes away. What is added or taken away later counts nowhere.
    pub(super) fn leave(&self, total: &Count) {
        let before = self.state.fetch_or(LEFT, Ordering::SeqCst);
        self.give_back(before & BYTES, before, total);
    }

    /// Tells the connection to close. Its bytes count as closing from now on.
    pub(super) fn close(&self, total: &Count) {
        let before = self.state.fetch_or(CLOSING, Ordering::SeqCst);
        if before & (CLOSING | LEFT) == 0 {
            self.of_origin.note_closing(before & BYTES);
            total.note_closing(before & BYTES);
        }
        self.task.wake();
    }

    fn give_back(&self, bytes: usize, state: usize, total: &Count) {
        if state & LEFT == 0 {
            let is_closing = state & CLOSING != 0;
            self.of_origin.give_back(bytes, is_closing);
            total.give_back(bytes, is_closing);
        }
    }
}
