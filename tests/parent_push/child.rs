//! Children of a parent broker in this process, and the wire between them.

#![allow(unreachable_pub, reason = "a module of a test")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ecr_broker::cache::CredentialCache;
use ecr_broker::credential::{CredentialId, CredentialKey, ProfileName};
use ecr_broker::hops::InstanceId;
use ecr_broker::limits::LimitHits;
use ecr_broker::metrics::{Exposition, Format, Registry};
use ecr_broker::policy::RegistryPattern;
use ecr_broker::source::SourceFuture;
use ecr_broker::source::broker::{Fallback, ParentBroker, Settings, WatchMetrics};
use ecr_broker::source::push::{Adopted, Outcome, PushSink, Pushed};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

use crate::scraped::Scraped;
use crate::support::*;

/// Time within which an event comes on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The cache of a child, its source and its watches.
pub struct Child {
    pub cache: CredentialCache,
    pub updates: watch::Receiver<Vec<Update>>,
    exposition: Exposition,
    watching: JoinHandle<()>,
}

/// An update that a child's cache has taken.
#[derive(Debug, Clone)]
pub struct Update {
    pub outcome: Outcome,
    pub at: Instant,
}

/// Passes updates on to the cache and records them.
struct Recorder {
    cache: CredentialCache,
    updates: watch::Sender<Vec<Update>>,
}

impl PushSink for Recorder {
    fn adopt<'a>(&'a self, key: &'a CredentialKey, pushed: Pushed) -> SourceFuture<'a, Adopted> {
        Box::pin(async {
            let adopted = self.cache.adopt(key, pushed).await;
            let update = Update { outcome: adopted.outcome, at: Instant::now() };
            self.updates.send_modify(|updates| updates.push(update));
            adopted
        })
    }
}

impl Child {
    /// Starts a child of the parent at these addresses.
    pub fn start(addresses: &[SocketAddr], clock: &Arc<ManualClock>) -> Self {
        let mut registry = Registry::default();
        let parent = ParentBroker::new(&settings(addresses), InstanceId::random(), clock.clone());
        let (parent, driver) = parent.watching(1_000, &WatchMetrics::new(&mut registry));
        let hits = LimitHits::new(&mut registry);
        let cache = CredentialCache::new(cache_settings(), Arc::new(parent), clock.clone(), &hits, &mut registry);
        let (updates, receiver) = watch::channel(Vec::new());
        let recorder = Recorder { cache: cache.clone(), updates };
        let watching = tokio::spawn(async move { driver.run(&recorder).await });
        Self { cache, updates: receiver, exposition: Exposition::new(registry), watching }
    }

    /// Requests a credential as a caller does.
    pub async fn get(&self, host: &str) -> CredentialId {
        self.cache.get(lookup(host)).await.unwrap().credential.id()
    }

    /// Waits until this many updates had an outcome, and returns them.
    pub async fn until(&mut self, outcome: Outcome, count: usize) -> Vec<Update> {
        let of =
            |updates: &[Update]| updates.iter().filter(|update| update.outcome == outcome).cloned().collect::<Vec<_>>();
        let updates = timeout(PATIENCE, self.updates.wait_for(|updates| of(updates).len() >= count)).await;
        let updates = updates.unwrap_or_else(|_| panic!("no {count} updates {outcome:?}")).unwrap();
        of(&updates)
    }

    /// Waits until a watch has ended by this cause.
    pub async fn until_watch_ended(&self, cause: &str) {
        let ended = async {
            while self.metric("ecr_broker_parent_watch_ends_total", ("cause", cause)) == 0.0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, ended).await.unwrap_or_else(|_| panic!("no watch ended as {cause}"));
    }

    /// Returns the value of a metric with one label.
    pub fn metric(&self, name: &str, label: (&str, &str)) -> f64 {
        let scraped = Scraped::parse(&self.exposition.encode(Format::Prometheus));
        let is_meant =
            |labels: &std::collections::BTreeMap<String, String>| labels.get(label.0).is_some_and(|it| it == label.1);
        let sample = scraped.samples.iter().find(|sample| sample.name == name && is_meant(&sample.labels));
        sample.unwrap_or_else(|| panic!("no {name} {label:?}")).value
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// Returns a parent that serves everything.
pub fn settings(addresses: &[SocketAddr]) -> Settings {
    Settings {
        name: "central".parse().unwrap(),
        addresses: addresses.iter().map(|address| format!("http://{address}").parse().unwrap()).collect(),
        tls_ca: None,
        tls_identity: None,
        token_file: None,
        registries: vec![RegistryPattern::every_private(), RegistryPattern::Public],
        profiles: vec![ProfileName::default_profile()],
        fallback: Fallback::None,
        forward_callers: false,
    }
}

/// A wire to a parent, which can be cut.
pub struct Wire {
    pub address: SocketAddr,
    parent: SocketAddr,
    streams: Arc<Mutex<JoinSet<()>>>,
    listening: Option<JoinHandle<()>>,
}

impl Wire {
    pub async fn to(parent: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, streams) = (listener.local_addr().unwrap(), Arc::default());
        let mut wire = Self { address, parent, streams, listening: None };
        wire.listen(listener);
        wire
    }

    fn listen(&mut self, listener: TcpListener) {
        let (parent, streams) = (self.parent, Arc::clone(&self.streams));
        self.listening = Some(tokio::spawn(async move {
            while let Ok((mut child, _)) = listener.accept().await {
                streams.lock().unwrap().spawn(async move {
                    if let Ok(mut parent) = TcpStream::connect(parent).await {
                        _ = copy_bidirectional(&mut child, &mut parent).await;
                    }
                });
            }
        }));
    }

    /// Closes the port and every connection, as a parent does that is killed.
    pub async fn cut(&mut self) {
        let listening = self.listening.take().unwrap();
        listening.abort();
        _ = listening.await;
        self.streams.lock().unwrap().abort_all();
    }

    pub async fn restore(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.listen(listener);
    }
}
