//! Shared cache in Valkey or Redis: one server, a primary behind Sentinels, or a cluster.
//!
//! A server that is slow, down, full, read-only or not what it seems costs the broker a bounded delay once, then nothing: see
//! `node`. No operation repeats, and none is part of a health check.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::time::Instant;

pub use self::fault::FaultClass;
pub use self::node::NodeState;
pub use self::settings::{Settings, TlsFiles};
pub use self::target::{A_URL, Address, Servers, Target};

use self::cluster::Cluster;
use self::credentials::Credentials;
use self::dial::{Dialer, Place};
use self::fault::Fault;
use self::metrics::{Metrics, Operation};
use self::node::Node;
use self::scripts::{Call, EntryKeys, Script, Scripts, longest_value};
use super::entry_key::EntryName;
use super::tier::{LEASE_TTL, LeaseOwner, Tier, TierAnswer, TierError};
use crate::metrics::Registry;
use crate::source::SourceFuture;

mod answer;
mod cluster;
mod credentials;
mod dial;
mod fault;
mod gate;
mod link;
mod metrics;
mod node;
mod scripts;
mod settings;
mod target;

/// The shared cache's servers. Dropping it closes the connections.
#[derive(Debug)]
pub struct Valkey {
    route: Route,
    scripts: Scripts,
    prefix: String,
    timeout: Duration,
    metrics: Metrics,
}

#[derive(Debug)]
enum Route {
    Single(Arc<Node>),
    Cluster(Cluster),
}

/// State of one server, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its address, or the name of the primary.
    pub name: String,
    /// Its state.
    pub state: NodeState,
    /// Time since the state began.
    pub for_: Duration,
    /// The last fault, which may be over.
    pub last_fault: Option<FaultClass>,
}

impl Valkey {
    /// Starts connecting, and does not wait for it. Must be called inside the runtime.
    #[must_use]
    pub fn start(settings: Settings, registry: &mut Registry) -> Self {
        let (prefix, timeout) = (settings.prefix.clone(), settings.timeout);
        let servers = settings.target.servers.clone();
        let dialer = Dialer::new(settings);
        let route = match servers {
            Servers::Standalone(address) => Route::Single(Node::start(Place::At(address), dialer)),
            Servers::Sentinel { sentinels, primary } => {
                Route::Single(Node::start(Place::PrimaryOf { sentinels, primary }, dialer))
            }
            Servers::Cluster(addresses) => Route::Cluster(Cluster::start(addresses, dialer)),
        };
        Self { route, scripts: Scripts::new(), prefix, timeout, metrics: Metrics::new(registry) }
    }

    /// Returns the state of each server.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeStatus> {
        let nodes = match &self.route {
            Route::Single(node) => vec![Arc::clone(node)],
            Route::Cluster(cluster) => cluster.nodes(),
        };
        let status = |node: &Arc<Node>| {
            let condition = node.condition();
            let (state, for_) = (condition.state(), condition.since.elapsed());
            NodeStatus { name: node.name(), state, for_, last_fault: condition.last_fault }
        };
        let mut nodes: Vec<_> = nodes.iter().map(status).collect();
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        nodes
    }

    /// Exposes the number of servers in each state.
    pub fn expose(self: Arc<Self>, registry: &mut Registry) {
        registry.on_scrape(move |scrape| {
            let nodes = self.nodes();
            let count = |state: NodeState| nodes.iter().filter(|node| node.state == state).count();
            let counts = NodeState::ALL.map(|state| ([("state", state.as_str())], of_count(count(state))));
            scrape.gauges("ecr_broker_shared_cache_servers", "Servers of the shared cache by their state", counts)
        });
    }

    /// Runs a script that ends the owner's lease and keeps something for a time. Returns whether the owner had the lease.
    async fn end_lease(
        &self,
        script: (Operation, &Script),
        entry: &EntryName,
        owner: &LeaseOwner,
        (kept, ttl): (&[u8], Duration),
    ) -> Result<bool, TierError> {
        let lifetime = millis(ttl);
        let arguments = [owner.as_str().as_bytes(), kept, lifetime.as_bytes()];
        self.run(script, entry, &arguments, |value| answer::of_condition(&value)).await
    }

    /// Runs a script on the keys of an entry, and reads its answer.
    async fn run<T>(
        &self,
        (operation, script): (Operation, &Script),
        entry: &EntryName,
        arguments: &[&[u8]],
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Result<T, TierError> {
        let started = Instant::now();
        let keys = EntryKeys::new(&self.prefix, entry.as_str());
        let call = Call { script, keys: &keys, arguments };
        let answer = match &self.route {
            Route::Single(node) => node.run(&call, false, started + self.timeout).await,
            Route::Cluster(cluster) => cluster.run(entry.as_str(), &call, started + self.timeout).await,
        };
        let answer = answer.and_then(|value| read(value).ok_or_else(|| self.invalid_answer()));
        self.metrics.record(operation, started, answer.as_ref().err());
        answer.map_err(|fault| match fault {
            Fault::Open => TierError::BreakerOpen,
            _ => TierError::Unavailable,
        })
    }

    /// Records an answer of another shape. In a cluster it is not known whose it was, and the next one may be better.
    fn invalid_answer(&self) -> Fault {
        if let Route::Single(node) = &self.route {
            node.record_invalid();
        }
        FaultClass::Invalid.into()
    }
}

fn of_count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Checks that the files can be read which a connection needs.
///
/// # Errors
/// A file cannot be read, or has not what it should have.
pub fn check_files(settings: &Settings) -> Result<(), String> {
    Credentials::read(settings).map(drop)
}

impl Tier for Valkey {
    fn get_or_lease<'a>(
        &'a self,
        entry: &'a EntryName,
        owner: &'a LeaseOwner,
        known: Option<&'a [u8]>,
    ) -> SourceFuture<'a, Result<TierAnswer, TierError>> {
        Box::pin(async move {
            let (lifetime, longest) = (millis(LEASE_TTL), longest_value());
            let known = known.unwrap_or_default();
            let arguments = [owner.as_str().as_bytes(), lifetime.as_bytes(), known, longest.as_bytes()];
            let script = (Operation::GetOrLease, &self.scripts.get_or_lease);
            self.run(script, entry, &arguments, |value| answer::of_lease(value, owner)).await
        })
    }

    fn renew<'a>(&'a self, entry: &'a EntryName, owner: &'a LeaseOwner) -> SourceFuture<'a, Result<bool, TierError>> {
        Box::pin(async move {
            let lifetime = millis(LEASE_TTL);
            let arguments = [owner.as_str().as_bytes(), lifetime.as_bytes()];
            let script = (Operation::Renew, &self.scripts.renew);
            self.run(script, entry, &arguments, |value| answer::of_condition(&value)).await
        })
    }

    fn put<'a>(
        &'a self,
        entry: &'a EntryName,
        owner: &'a LeaseOwner,
        value: &'a [u8],
        ttl: Duration,
    ) -> SourceFuture<'a, Result<bool, TierError>> {
        Box::pin(self.end_lease((Operation::Put, &self.scripts.put), entry, owner, (value, ttl)))
    }

    fn fail<'a>(
        &'a self,
        entry: &'a EntryName,
        owner: &'a LeaseOwner,
        note: &'a [u8],
        ttl: Duration,
    ) -> SourceFuture<'a, Result<bool, TierError>> {
        Box::pin(self.end_lease((Operation::Fail, &self.scripts.fail), entry, owner, (note, ttl)))
    }

    fn release<'a>(&'a self, entry: &'a EntryName, owner: &'a LeaseOwner) -> SourceFuture<'a, Result<(), TierError>> {
        Box::pin(async move {
            let arguments = [owner.as_str().as_bytes()];
            let script = (Operation::Release, &self.scripts.release);
            self.run(script, entry, &arguments, |value| answer::of_condition(&value)).await.map(drop)
        })
    }

    fn invalidate<'a>(
        &'a self,
        entry: &'a EntryName,
        known: Option<&'a [u8]>,
    ) -> SourceFuture<'a, Result<(), TierError>> {
        Box::pin(async move {
            let arguments = [known.unwrap_or_default()];
            let script = (Operation::Invalidate, &self.scripts.invalidate);
            self.run(script, entry, &arguments, |value| answer::of_condition(&value)).await.map(drop)
        })
    }
}

/// Returns a lifetime as an argument: at least a millisecond, for the server refuses none.
fn millis(lifetime: Duration) -> String {
    lifetime.as_millis().max(1).to_string()
}

#[cfg(test)]
mod tests;
