//! A limit of memory, the accounts within it by origin, and which connection is closed or woken.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tracing::warn;

use super::balance::{Balance, Count};
use super::paused::Paused;
use crate::clock::Clock;
use crate::limits::hits::{LimitHits, LimitName};
use crate::limits::origin::Origin;
use crate::log_throttle::{self, LogThrottle};
use crate::sync::lock;

/// The most that connections may hold.
#[derive(Debug, Clone, Copy)]
pub(in crate::limits) struct Limit {
    /// Bytes of all connections together.
    pub(in crate::limits) all: usize,
    /// Bytes of the connections of one origin.
    pub(in crate::limits) of_origin: usize,
    /// How many times as much there may be before a connection that holds some is paused: it reads on to give it back.
    pub(in crate::limits) of_holders: usize,
    /// Bytes of an origin up to which its connections are paused only above [`Self::all_for_few`]: others that hold much delay it less.
    pub(in crate::limits) few: usize,
    /// Bytes of all connections together above which those of every origin are paused. More than any with much are let in to.
    pub(in crate::limits) all_for_few: usize,
    /// The name of the limit in metrics.
    pub(in crate::limits) name: LimitName,
    /// The log line of a connection that is closed; none: connections are only paused.
    pub(in crate::limits) event: Option<&'static str>,
}

/// A budget of memory. A clone is a handle of the same.
#[derive(Debug, Clone)]
pub(in crate::limits) struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: Limit,
    total: Count,
    /// The number of paused connections.
    paused: AtomicUsize,
    open: Mutex<Open>,
    clock: Arc<dyn Clock>,
    log: LogThrottle,
    hits: LimitHits,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_origin: HashMap<Origin, Group>,
    paused: Paused,
}

/// The accounts of an origin.
#[derive(Debug, Default)]
struct Group {
    count: Arc<Count>,
    accounts: HashMap<u64, Arc<Balance>>,
}

impl Budget {
    pub(in crate::limits) fn new(limit: Limit, clock: Arc<dyn Clock>, hits: LimitHits) -> Self {
        let (total, paused, open, log) = Default::default();
        Self(Arc::new(Inner { limit, total, paused, open, clock, log, hits }))
    }

    /// Adds an account. Returns it with its number.
    pub(super) fn open(&self, origin: Origin) -> (u64, Arc<Balance>) {
        let mut open = lock(&self.0.open);
        let id = open.next;
        open.next += 1;
        let group = open.by_origin.entry(origin).or_default();
        let balance = Arc::new(Balance::new(origin, Arc::clone(&group.count)));
        group.accounts.insert(id, Arc::clone(&balance));
        (id, balance)
    }

    /// Forgets an account, with what it still holds.
    pub(super) fn leave(&self, id: u64, balance: &Arc<Balance>) {
        balance.leave(&self.0.total);
        let mut open = lock(&self.0.open);
        if let Some(group) = open.by_origin.get_mut(&balance.origin) {
            group.accounts.remove(&id);
            if group.accounts.is_empty() {
                open.by_origin.remove(&balance.origin);
            }
        }
        if open.paused.remove(balance) {
            self.0.paused.fetch_sub(1, Ordering::SeqCst);
            balance.task.wake();
        }
        drop(open);
        self.note_room();
    }

    /// Adds to an account. Closes connections if it, with others, holds too much.
    pub(super) fn charge(&self, balance: &Balance, bytes: usize) {
        balance.add(bytes, &self.0.total);
        let Inner { limit, total, .. } = &*self.0;
        if limit.event.is_some() && limit.is_exceeded(total.live(), balance.of_origin.live()) {
            self.make_room();
        }
    }

    pub(super) fn release(&self, balance: &Balance, bytes: usize) {
        balance.subtract(bytes, &self.0.total);
        self.note_room();
    }

    /// Returns whether nothing more may be read from the connection, until memory is released.
    pub(super) fn is_exhausted(&self, balance: &Balance) -> bool {
        let limit = &self.0.limit;
        let (all, of_origin) = (self.0.total.held(), balance.of_origin.held());
        let times = if balance.bytes() == 0 { 1 } else { limit.of_holders };
        let is_exhausted = if of_origin <= limit.few {
            all > limit.all_for_few
        } else {
            limit.is_exceeded(all / times, of_origin / times)
        };
        is_exhausted && !balance.has_left()
    }

    /// Keeps a connection until there is room for it. The caller checks that afterwards: it may have come just before.
    pub(super) fn pause(&self, balance: &Arc<Balance>) {
        let mut open = lock(&self.0.open);
        if !balance.has_left() && open.paused.add(balance) {
            self.0.paused.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Wakes a paused connection if there is room for one.
    pub(super) fn note_room(&self) {
        if self.0.paused.load(Ordering::SeqCst) == 0 {
            return;
        }
        let next = lock(&self.0.open).paused.next(|first| !self.is_exhausted(first));
        if let Some(balance) = next {
            self.0.paused.fetch_sub(1, Ordering::SeqCst);
            balance.was_woken.store(true, Ordering::SeqCst);
            balance.task.wake();
        }
    }

    /// Closes the largest connection of the origin that holds most, until the others hold no more than they may.
    fn make_room(&self) {
        let Inner { limit, total, open, .. } = &*self.0;
        let open = lock(open);
        let mut closed = None;
        while let Some(balance) = open.excess(limit, total) {
            balance.close(total);
            self.0.hits.count(limit.name);
            closed = Some(balance.origin);
        }
        drop(open);
        let due = closed.filter(|_| self.0.log.is_due(self.0.clock.now().steady));
        if let Some((origin, event)) = due.zip(limit.event) {
            let (limit_bytes, suppressed_for) = (limit.all, humantime::format_duration(log_throttle::INTERVAL));
            warn!(%origin, limit_bytes, %suppressed_for, "{event}");
        }
    }
}

impl Limit {
    fn is_exceeded(&self, all: usize, of_origin: usize) -> bool {
        all > self.all || of_origin > self.of_origin
    }
}

impl Open {
    /// Returns the connection to close next; none if what is open holds no more than it may. So each search but the last of a charge
    /// ends a connection.
    fn excess(&self, limit: &Limit, total: &Count) -> Option<&Arc<Balance>> {
        let largest = self.by_origin.values().max_by_key(|group| group.count.live())?;
        if !limit.is_exceeded(total.live(), largest.count.live()) {
            return None;
        }
        largest.accounts.values().filter(|it| !it.is_closing()).max_by_key(|it| it.bytes())
    }
}
