//! The accounts by origin, and which connection is closed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tracing::warn;

use super::account::Account;
use crate::clock::Clock;
use crate::limits::hits::{LimitHits, LimitName};
use crate::limits::origin::Origin;
use crate::log_throttle::{self, LogThrottle};
use crate::sync::lock;

/// Bytes of all connections together.
pub(super) const MAX_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of the connections of one origin.
pub(super) const MAX_ORIGIN_BYTES: usize = MAX_BYTES / 4;

#[derive(Debug)]
pub(super) struct Registry {
    clock: Arc<dyn Clock>,
    bytes: AtomicUsize,
    open: Mutex<Open>,
    log: LogThrottle,
    hits: LimitHits,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_origin: HashMap<Origin, Group>,
}

/// The connections of an origin.
#[derive(Debug, Default)]
struct Group {
    bytes: Arc<AtomicUsize>,
    connections: HashMap<u64, Arc<Account>>,
}

impl Registry {
    pub(super) fn new(clock: Arc<dyn Clock>, hits: LimitHits) -> Self {
        Self { clock, bytes: AtomicUsize::default(), open: Mutex::default(), log: LogThrottle::default(), hits }
    }

    /// Adds an account, made from the count of its origin. Returns it with its number.
    pub(super) fn enter(&self, new: impl FnOnce(Arc<AtomicUsize>) -> Account, origin: Origin) -> (u64, Arc<Account>) {
        let mut open = lock(&self.open);
        let id = open.next;
        open.next += 1;
        let group = open.by_origin.entry(origin).or_default();
        let account = Arc::new(new(Arc::clone(&group.bytes)));
        group.connections.insert(id, Arc::clone(&account));
        (id, account)
    }

    /// Forgets an account, with what it still holds.
    pub(super) fn leave(&self, id: u64, account: &Account) {
        self.release(account, account.bytes.load(Ordering::Relaxed));
        let mut open = lock(&self.open);
        let Some(group) = open.by_origin.get_mut(&account.origin) else { return };
        group.connections.remove(&id);
        if group.connections.is_empty() {
            open.by_origin.remove(&account.origin);
        }
    }

    /// Adds to an account. Closes connections if it, with others, holds too much.
    pub(super) fn charge(&self, account: &Account, bytes: usize) {
        for count in [&account.bytes, &account.of_origin, &self.bytes] {
            count.fetch_add(bytes, Ordering::Relaxed);
        }
        if self.is_exhausted(account) {
            self.make_room();
        }
    }

    pub(super) fn release(&self, account: &Account, bytes: usize) {
        if bytes > 0 {
            for count in [&account.bytes, &account.of_origin, &self.bytes] {
                count.fetch_sub(bytes, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn is_exhausted(&self, account: &Account) -> bool {
        account.of_origin.load(Ordering::Relaxed) > MAX_ORIGIN_BYTES || self.bytes.load(Ordering::Relaxed) > MAX_BYTES
    }

    /// Closes the largest connection of the origin that holds most, until the others hold no more than they may. Closed ones keep
    /// their memory for a moment, and are left out.
    fn make_room(&self) {
        let open = lock(&self.open);
        let mut closed = None;
        while let Some(account) = open.excess() {
            account.close();
            self.hits.count(LimitName::RequestMemory);
            closed = Some(account.origin);
        }
        drop(open);
        if let Some(origin) = closed.filter(|_| self.log.is_due(self.clock.now().steady)) {
            let suppressed_for = humantime::format_duration(log_throttle::INTERVAL);
            warn!(%origin, limit_bytes = MAX_BYTES, %suppressed_for, "connection closed: too much memory for unanswered requests");
        }
    }
}

impl Open {
    /// Returns the connection to close next; none if what is open holds no more than it may.
    fn excess(&self) -> Option<&Account> {
        let sizes = self.by_origin.values().map(|group| (group.live().map(size).sum::<usize>(), group));
        let (total, largest) = sizes.fold((0, None), |(total, largest): (usize, Option<(usize, &Group)>), it| {
            (total + it.0, largest.filter(|largest| largest.0 >= it.0).or(Some(it)))
        });
        let (bytes, group) = largest?;
        let is_exceeded = bytes > MAX_ORIGIN_BYTES || total > MAX_BYTES;
        group.live().max_by_key(|account| size(account)).filter(|_| is_exceeded)
    }
}

impl Group {
    /// The connections that are not closed yet.
    fn live(&self) -> impl Iterator<Item = &Account> {
        self.connections.values().map(|account| &**account).filter(|it| !it.is_closing())
    }
}

fn size(account: &Account) -> usize {
    account.bytes.load(Ordering::Relaxed)
}
