//! Watches of a child on its parent: a refresh of the parent reaches thousands of children by push, within a second.
//!
//! [`Watches`] is the handle of the source, which names each key that it has fetched. [`WatchDriver`] keeps the keys in watches and
//! passes their updates to the cache. A key that is watched is refreshed by its push. A push that does not come is noticed in two
//! ways: HTTP/2 keepalive ends a watch whose network is dead, and the cache asks by a unary call a minute after the parent's refresh
//! was due ([`Credential::source_refresh`](crate::credential::Credential::source_refresh)). So no
//! credential depends on a watch, and the end of a watch is not a failure of its keys.
//!
//! A watch names this broker to the parent and no caller of it. So a denial counts only for keys that a watch has had before: the
//! parent may grant the others to the caller whose proof came with the fetch.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::{self, AbortHandle, BoxStream, SelectAll};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

pub(super) use self::delays::End;
use self::metrics::Figures;
pub use self::metrics::Metrics;
use self::set::{WatchId, WatchSet};
use crate::credential::{CredentialId, CredentialKey};
use crate::error::BrokerError;
use crate::source::push::{PushSink, Pushed};

mod delays;
mod metrics;
mod opener;
mod set;

/// Fetched keys that wait for the driver. A key beyond them enters after its next fetch.
const MAX_WAITING: usize = 1_024;

/// A key, and its credential that is cached.
pub(super) type KnownKey = (CredentialKey, CredentialId);

/// Opens watches at a parent.
pub(super) trait WatchOpener: Debug + Send + Sync {
    /// Returns the items of a watch of keys, [`WatchItem::Ended`] last. Connects when it is first polled.
    fn open(&self, keys: Vec<KnownKey>) -> BoxStream<'static, WatchItem>;
}

/// An item of a watch.
#[derive(Debug)]
pub(super) enum WatchItem {
    /// An update of the key at this index.
    Update(usize, Box<Pushed>),
    /// Every key has had an update.
    SnapshotComplete,
    /// The watch has ended.
    Ended(End),
}

/// Handle by which the source names the keys that it fetched. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub(super) struct Watches(mpsc::Sender<KnownKey>);

/// Keeps the keys of one parent in watches.
#[derive(Debug)]
pub struct WatchDriver {
    added: Mutex<mpsc::Receiver<KnownKey>>,
    opener: Arc<dyn WatchOpener>,
    max_keys: usize,
    metrics: Metrics,
    figures: Arc<Figures>,
}

impl Watches {
    /// Watches a key that was fetched through the parent, unless its credential is of one caller.
    pub(super) fn watch(&self, key: &CredentialKey, known: CredentialId) {
        if key.caller.is_none() {
            _ = self.0.try_send((key.clone(), known));
        }
    }
}

impl WatchDriver {
    /// Returns a driver of at most `max_keys` keys of the parent `name`, and the handle of its source.
    pub(super) fn new(name: &str, opener: Arc<dyn WatchOpener>, max_keys: usize, metrics: &Metrics) -> (Self, Watches) {
        let (watches, added) = mpsc::channel(MAX_WAITING);
        let figures = metrics.figures_of(name);
        let driver = Self { added: Mutex::new(added), opener, max_keys, metrics: metrics.clone(), figures };
        (driver, Watches(watches))
    }

    /// Watches the keys and passes their updates to `sink`. Never returns. Dropping the future closes the watches.
    pub async fn run(&self, sink: &dyn PushSink) {
        let mut added = self.added.lock().await;
        let mut run = Run::new(self, sink);
        loop {
            run.open_due();
            let next_time = run.set.next_time();
            tokio::select! {
                Some((key, known)) = added.recv() => run.set.add(key, known, Instant::now()),
                Some((id, item)) = run.streams.next() => run.handle(id, item).await,
                () = until(next_time) => {}
            }
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The streams of a driver that runs.
struct Run<'a> {
    driver: &'a WatchDriver,
    sink: &'a dyn PushSink,
    set: WatchSet,
    streams: SelectAll<BoxStream<'static, (WatchId, WatchItem)>>,
    handles: HashMap<WatchId, AbortHandle>,
}

impl<'a> Run<'a> {
    fn new(driver: &'a WatchDriver, sink: &'a dyn PushSink) -> Self {
        let set = WatchSet::new(driver.max_keys);
        Self { driver, sink, set, streams: SelectAll::new(), handles: HashMap::new() }
    }

    fn open_due(&mut self) {
        while let Some(to_open) = self.set.next_to_open(Instant::now()) {
            debug!(keys = to_open.keys.len(), "parent watch opening");
            let id = to_open.id;
            let (items, handle) = stream::abortable(self.driver.opener.open(to_open.keys));
            self.streams.push(items.map(move |item| (id, item)).boxed());
            self.handles.insert(id, handle);
        }
        self.driver.figures.set(self.set.keys(), self.set.open_watches());
    }

    async fn handle(&mut self, id: WatchId, item: WatchItem) {
        match item {
            WatchItem::Update(index, pushed) => {
                if let Some(key) = self.set.key(id, index).cloned() {
                    self.update(&key, *pushed).await;
                }
            }
            WatchItem::SnapshotComplete => {
                let taken_over = self.set.opened(id, Instant::now());
                self.close(&taken_over);
            }
            WatchItem::Ended(end) => {
                debug!(?end, "parent watch ended");
                self.driver.metrics.ended(end);
                self.handles.remove(&id);
                self.set.ended(id, end, Instant::now());
            }
        }
    }

    /// Passes an update on. A key that this broker cannot watch leaves, and its credential stays cached.
    async fn update(&mut self, key: &CredentialKey, pushed: Pushed) {
        let id = match &pushed {
            Pushed::Credential(credential) => Some(credential.id()),
            Pushed::Unchanged(id) => Some(*id),
            Pushed::Failed(error) if is_permanent(error) && !self.set.is_confirmed(key) => {
                let empty = self.set.remove(key);
                return self.close(&empty);
            }
            Pushed::Failed(_) => None,
        };
        let adopted = self.sink.adopt(key, pushed).await;
        self.driver.metrics.pushed(adopted.outcome);
        let empty = self.set.adopted(key, id, adopted);
        self.close(&empty);
    }

    fn close(&mut self, watches: &[WatchId]) {
        for handle in watches.iter().filter_map(|id| self.handles.remove(id)) {
            handle.abort();
        }
    }
}

fn is_permanent(error: &BrokerError) -> bool {
    match error {
        BrokerError::Upstream(failure) => failure.class.is_permanent(),
        other => other.retry_after().is_none(),
    }
}

#[cfg(test)]
mod tests;
