//! The paused connections, which wait for room.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::balance::Balance;
use crate::limits::origin::Origin;

/// Paused connections. Origins take turns, so that one with many of them holds up no other.
#[derive(Debug, Default)]
pub(super) struct Paused {
    origins: VecDeque<Origin>,
    connections: HashMap<Origin, VecDeque<Arc<Balance>>>,
}

impl Paused {
    /// Adds a connection; returns whether it was not there.
    pub(super) fn add(&mut self, balance: &Arc<Balance>) -> bool {
        if balance.is_paused.swap(true, Ordering::SeqCst) {
            return false;
        }
        let of_origin = self.connections.entry(balance.origin).or_insert_with(|| {
            self.origins.push_back(balance.origin);
            VecDeque::new()
        });
        of_origin.push_back(Arc::clone(balance));
        true
    }

    /// Takes the connection that waits for longest, of the next origin that may have more.
    pub(super) fn next(&mut self, may_have_more: impl Fn(&Balance) -> bool) -> Option<Arc<Balance>> {
        let first = |origin: &Origin| self.connections.get(origin)?.front();
        let is_ready = |origin: &Origin| first(origin).is_some_and(|first| may_have_more(first));
        let at = self.origins.iter().position(is_ready)?;
        self.origins.rotate_left(at);
        let origin = *self.origins.front()?;
        let next = self.connections.get_mut(&origin)?.pop_front()?;
        self.origins.rotate_left(1);
        self.note_taken(&next);
        Some(next)
    }

    /// Takes a connection out; returns whether it was there.
    pub(super) fn remove(&mut self, balance: &Arc<Balance>) -> bool {
        if !balance.is_paused.load(Ordering::SeqCst) {
            return false;
        }
        if let Some(of_origin) = self.connections.get_mut(&balance.origin) {
            of_origin.retain(|it| !Arc::ptr_eq(it, balance));
        }
        self.note_taken(balance);
        true
    }

    fn note_taken(&mut self, balance: &Balance) {
        balance.is_paused.store(false, Ordering::SeqCst);
        if self.connections.get(&balance.origin).is_some_and(VecDeque::is_empty) {
            self.connections.remove(&balance.origin);
            self.origins.retain(|origin| *origin != balance.origin);
        }
    }
}
