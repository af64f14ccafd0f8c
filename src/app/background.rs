//! Background tasks of a broker, beside its connections.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::warn;

use super::announce::{Announcer, watchdog};
use crate::broker::Broker;
use crate::cache::CredentialCache;
use crate::descriptor_store::DescriptorStore;
use crate::follow_file::FilesInEffect;
use crate::limits::ConnectionsStatus;
use crate::registry::Registry;
use crate::rejections::{FLUSH_INTERVAL, RejectionRecorder};
use crate::server::Health;
use crate::source::broker::WatchDriver;
use crate::status::Readiness;
use crate::supervise;

/// Time between two sweeps of expired credentials out of memory.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Time for the credentials of `cache.keep_warm` to be cached. Then the broker is ready without some: they may be denied for good.
const WARM_TIMEOUT: Duration = Duration::from_secs(30);

/// Notes in the readiness that the credentials of `registries` are cached, or that it took too long.
pub(super) fn first_fill(broker: Arc<Broker>, registries: Vec<Registry>, readiness: Readiness) -> JoinHandle<()> {
    tokio::spawn(async move {
        if tokio::time::timeout(WARM_TIMEOUT, broker.until_warm(&registries)).await.is_err() {
            warn!("cache.keep_warm not filled in time; the broker is ready without some of its registries");
        }
        readiness.note_warm();
    })
}

/// Keeps the credentials of `registries` fresh. A reload may replace the list.
pub(super) fn keep_warm(broker: Arc<Broker>, registries: watch::Receiver<Vec<Registry>>) -> JoinHandle<()> {
    let keep_warm = move || {
        let (broker, mut registries) = (Arc::clone(&broker), registries.clone());
        async move {
            loop {
                let active = registries.borrow_and_update().clone();
                tokio::select! {
                    () = Arc::clone(&broker).keep_warm(active) => return,
                    changed = registries.changed() => if changed.is_err() { return },
                }
            }
        }
    };
    tokio::spawn(supervise::run("keep-warm refresh", keep_warm))
}

/// Sweeps the cache and keeps the health status up to date.
pub(super) fn maintenance(cache: CredentialCache, health: Health) -> JoinHandle<()> {
    let sweep = move || sweep(cache.clone());
    let (updated, looking) = (health.clone(), health);
    tokio::spawn(async move {
        tokio::join!(
            supervise::run("cache sweep", sweep),
            supervise::run("health", || updated.clone().keep_updating()),
            supervise::run("AWS identity", || looking.clone().look_for_identity()),
        );
    })
}

async fn sweep(cache: CredentialCache) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        cache.sweep().await;
    }
}

/// Keeps the watches on parent brokers, and takes their updates into the cache.
pub(super) fn parent_watches(drivers: Vec<WatchDriver>, cache: CredentialCache) -> JoinHandle<()> {
    let watch = move |driver: WatchDriver| {
        let (driver, cache) = (Arc::new(driver), cache.clone());
        async move {
            let start = || {
                let (driver, cache) = (Arc::clone(&driver), cache.clone());
                async move { driver.run(&cache).await }
            };
            supervise::run("parent watches", start).await;
        }
    };
    tokio::spawn(async move {
        join_all(drivers.into_iter().map(watch)).await;
    })
}

/// Keeps the service manager informed.
pub(super) fn announcements<C>(announcer: Announcer<C>, health: Health) -> JoinHandle<()>
where
    C: Fn() -> ConnectionsStatus + Clone + Send + Sync + 'static,
{
    let manager = announcer.manager.clone();
    tokio::spawn(async move {
        tokio::join!(
            supervise::run("status line", || announcer.clone().run()),
            supervise::run("watchdog", || {
                let health = health.clone();
                watchdog(manager.clone(), move || (!health.readiness().is_draining()).then(|| health.updates()))
            }),
        );
    })
}

/// Reports in the health whether all files of the configuration are in effect.
pub(super) async fn configuration_health(files: FilesInEffect, health: Health) {
    let mut changes = files.changes();
    loop {
        health.report_configuration(changes.next().await).await;
    }
}

/// Writes the copy of the cache whenever it has changed, if there is a store for it.
pub(super) fn copies(store: Option<DescriptorStore>, cache: CredentialCache) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Some(store) = store {
            supervise::run("descriptor store", || store.clone().follow(cache.clone())).await;
        }
    })
}

/// Writes the counts of rejections once a minute.
pub(super) fn rejection_counts(rejections: RejectionRecorder) -> JoinHandle<()> {
    let flush = move || {
        let rejections = rejections.clone();
        async move {
            loop {
                tokio::time::sleep(FLUSH_INTERVAL).await;
                rejections.flush().await;
            }
        }
    };
    tokio::spawn(supervise::run("rejection counts", flush))
}
