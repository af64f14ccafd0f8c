//! An unproved connection: what it may do, and when it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::end::End;
use super::registry::Registry;
use crate::clock::Clock;
use crate::limits::hits::{LimitHits, LimitName};
use crate::limits::memory::{Account, Budget, Limit};
use crate::limits::origin::Origin;
use crate::limits::status::Used;

/// Memory for the handshakes and calls of all unproved connections together, beside that of the connections. One origin may have all of it.
pub(super) const LIMIT: Limit = Limit {
    all: 16 * 1024 * 1024,
    of_origin: 16 * 1024 * 1024,
    name: LimitName::UnprovedMemory,
    of_holders: 1,
    few: 128 * 1024,
    all_for_few: 18 * 1024 * 1024,
    event: Some("connection closed: too much memory without authentication"),
};
/// Bytes of requests that a peer may send before the broker reads them: the connection window.
const WINDOW: usize = 64 * 1024;
/// Calls that are served at once until one is authenticated. Others wait, and their messages are not read.
const MAX_CALLS: usize = 8;
/// Health watches until a call is authenticated. A load balancer needs one for each service that it watches.
const MAX_HEALTH_WATCHES: usize = 2;
/// Time for the first served call, from the accept of the connection.
const FIRST_CALL: Duration = Duration::from_secs(10);
/// Time without a call in flight. A health watch is in flight, and probes come every few seconds.
const IDLE: Duration = Duration::from_mins(2);
/// Time between the GOAWAY of a connection and its end.
const GRACE: Duration = Duration::from_secs(1);

/// All unproved connections. A clone is a handle of the same.
#[derive(Debug, Clone)]
pub struct UnprovedConnections {
    registry: Arc<Registry>,
    memory: Budget,
}

/// An unproved connection, which counts until it is proved or the last handle is dropped.
#[derive(Debug, Clone)]
pub struct Unproved(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    id: u64,
    registry: Arc<Registry>,
    account: Account,
    proved: AtomicBool,
    /// Cancelled when the connection is proved.
    proof: CancellationToken,
    end: End,
    slots: Arc<Semaphore>,
    health_watches: Arc<Semaphore>,
    activity: watch::Sender<Activity>,
}

#[derive(Debug, Default)]
struct Activity {
    served: bool,
    in_flight: usize,
}

impl UnprovedConnections {
    /// Starts with no connection. From three quarters of `limit` on, each new connection ends another one.
    #[must_use]
    pub fn new(limit: usize, clock: Arc<dyn Clock>, hits: LimitHits) -> Self {
        let setting = Some("limits.unproved_connections");
        let registry = Arc::new(Registry::new(limit, setting, Arc::clone(&clock), hits.clone()));
        Self { registry, memory: Budget::new(LIMIT, clock, hits) }
    }

    /// Starts with no connection, for a listener apart whose peers never prove who they are. The limit of memory is the same.
    #[must_use]
    pub fn apart(&self, limit: usize) -> Self {
        Self { registry: Arc::new(self.registry.of_limit(limit)), memory: self.memory.clone() }
    }

    /// Returns the number of the connections, and their maximum.
    #[must_use]
    pub fn used(&self) -> Used {
        self.registry.used()
    }

    /// Adds a connection from `origin`. Ends another one if there are too many.
    #[must_use]
    pub fn enter(&self, origin: Origin) -> Unproved {
        let end = End::default();
        let id = self.registry.enter(origin, end.clone());
        Unproved(Arc::new(Connection {
            id,
            registry: Arc::clone(&self.registry),
            account: Account::open(&self.memory, origin, WINDOW),
            proved: AtomicBool::new(false),
            proof: CancellationToken::new(),
            end,
            slots: Arc::new(Semaphore::new(MAX_CALLS)),
            health_watches: Arc::new(Semaphore::new(MAX_HEALTH_WATCHES)),
            activity: watch::Sender::default(),
        }))
    }
}

impl Unproved {
    /// Returns whether the peer has proved who it is.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        self.0.proved.load(Ordering::Relaxed)
    }

    /// Notes that the peer has proved who it is, by its connection or by a call. No limit of unproved connections applies any more.
    pub fn note_proved(&self) {
        if !self.0.proved.swap(true, Ordering::Relaxed) {
            self.0.registry.leave(self.0.id);
            self.0.account.leave();
            self.0.proof.cancel();
        }
    }

    /// Notes that a call was served, which keeps the connection beyond its first seconds.
    pub fn note_served(&self) {
        self.0.activity.send_if_modified(|activity| !std::mem::replace(&mut activity.served, true));
    }

    /// Notes bytes of requests that have arrived and that no handler has read. Only for the task of the connection.
    pub fn note_received(&self, bytes: usize) {
        self.account().note_received(bytes);
    }

    /// Notes bytes of requests that a handler has read.
    pub fn note_read(&self, bytes: usize) {
        self.account().release(self.account().take_unread(bytes));
    }

    /// Completes when more may be read from the connection: others have given enough memory back. Only for its task.
    pub fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        self.account().poll_room(context)
    }

    /// Waits until the call may be served. Returns nothing once the connection is proved: then no limit applies.
    pub async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            () = self.0.proof.cancelled() => None,
            slot = Arc::clone(&self.0.slots).acquire_owned() => slot.ok(),
        }
    }

    /// Takes one of the places of health watches; `None` if there is none left.
    pub(super) fn try_health_watch(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.health_watches).try_acquire_owned().ok()
    }

    /// The memory that counts for the connection until it is proved.
    pub(super) fn account(&self) -> &Account {
        &self.0.account
    }

    /// Counts one more call in flight.
    pub(super) fn begin_call(&self) {
        self.0.activity.send_modify(|activity| activity.in_flight += 1);
    }

    /// Counts one call less; returns whether it was the last.
    pub(super) fn end_call(&self) -> bool {
        let mut is_last = false;
        self.0.activity.send_modify(|activity| {
            activity.in_flight -= 1;
            is_last = activity.in_flight == 0;
        });
        is_last
    }

    /// Completes when the connection must finish its calls and take no more.
    pub async fn retired(&self) {
        self.0.end.retire.cancelled().await;
    }

    /// Completes when the connection must be closed; never once it is proved. Only for its task, and to be polled after the connection.
    pub async fn expired(&self) {
        let Connection { account, proof, end, .. } = &*self.0;
        tokio::select! {
            biased;
            () = proof.cancelled() => std::future::pending().await,
            () = account.closing() => {}
            () = end.abort.cancelled() => {}
            () = self.overstayed() => {}
        }
    }

    /// Completes some time after the connection was asked to end.
    async fn overstayed(&self) {
        let End { retire, .. } = &self.0.end;
        tokio::select! {
            biased;
            () = retire.cancelled() => {}
            () = self.idle() => retire.cancel(),
        }
        sleep(GRACE).await;
    }

    /// Completes when no call was served in time, or none was in flight for too long.
    async fn idle(&self) {
        let mut activity = self.0.activity.subscribe();
        if timeout(FIRST_CALL, activity.wait_for(|activity| activity.served)).await.is_err() {
            return;
        }
        loop {
            _ = activity.wait_for(|activity| activity.in_flight == 0).await;
            if timeout(IDLE, activity.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.registry.leave(self.id);
    }
}
