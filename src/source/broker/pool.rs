//! The nodes of a parent: what its addresses resolve to, and which of them to call next.
//!
//! DNS names are resolved again every 30 s while the parent is used, and at once after no node answered. A node that stays keeps its
//! connection.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::files::Files;
use super::node::Node;
use super::settings::Settings;
use crate::client::Address;
use crate::client::direct::{self, Target};
use crate::sync::lock;

/// Age at which the nodes are resolved again.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);
/// Time limit of one resolution.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Nodes of one parent. A name that resolves to more is cut.
const MAX_NODES: usize = 64;

/// Resolves an address; tests script it.
type Resolver = Box<dyn Fn(Address) -> Resolution + Send + Sync>;
type Resolution = Pin<Box<dyn Future<Output = io::Result<Vec<Target>>> + Send>>;

/// The nodes of a parent.
pub(super) struct Pool {
    settings: Settings,
    files: Arc<Files>,
    resolver: Resolver,
    state: Mutex<State>,
    /// Held during a resolution.
    resolving: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    nodes: Vec<Arc<Node>>,
    /// Counts the calls, so that each begins at another node. It starts at random: children that start together spread.
    turn: usize,
    resolved: Option<Instant>,
}

impl Pool {
    pub(super) fn new(settings: &Settings) -> Self {
        Self::resolved_by(settings, Box::new(|address| Box::pin(async move { direct::resolve(&address).await })))
    }

    fn resolved_by(settings: &Settings, resolver: Resolver) -> Self {
        let files = Arc::new(Files::of(settings));
        let state = State { nodes: Vec::new(), turn: fastrand::usize(..MAX_NODES), resolved: None };
        let (state, resolving) = (Mutex::new(state), tokio::sync::Mutex::default());
        Self { settings: settings.clone(), files, resolver, state, resolving }
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// Returns the nodes in the order to call them: those that answer, each call from another one on, then those left aside.
    pub(super) async fn nodes(self: &Arc<Self>) -> Vec<Arc<Node>> {
        let resolved = lock(&self.state).resolved;
        match resolved {
            None => self.resolve_after(None).await,
            Some(at) if at.elapsed() >= RESOLVE_INTERVAL => {
                let pool = Arc::clone(self);
                tokio::spawn(async move { pool.resolve_after(Some(at)).await });
            }
            Some(_) => {}
        }
        self.in_order()
    }

    /// Resolves the addresses again, and returns the nodes that `tried` does not have.
    pub(super) async fn others_than(&self, tried: &[Arc<Node>]) -> Vec<Arc<Node>> {
        let resolved = lock(&self.state).resolved;
        self.resolve_after(resolved).await;
        let is_other = |node: &Arc<Node>| !tried.iter().any(|tried| Arc::ptr_eq(tried, node));
        self.in_order().into_iter().filter(is_other).collect()
    }

    /// Returns the number of nodes, and of those that are left aside.
    pub(super) fn counts(&self) -> (usize, usize) {
        let nodes = lock(&self.state).nodes.clone();
        (nodes.len(), nodes.iter().filter(|node| node.aside_until().is_some()).count())
    }

    fn in_order(&self) -> Vec<Arc<Node>> {
        let (mut nodes, turn) = {
            let mut state = lock(&self.state);
            state.turn = state.turn.wrapping_add(1);
            (state.nodes.clone(), state.turn)
        };
        let first = turn.checked_rem(nodes.len()).unwrap_or_default();
        nodes.rotate_left(first);
        // Stable: those that answer keep their order.
        nodes.sort_by_key(|node| node.aside_until());
        nodes
    }

    /// Resolves all addresses, unless another call has done so since `seen`.
    async fn resolve_after(&self, seen: Option<Instant>) {
        let _turn = self.resolving.lock().await;
        if lock(&self.state).resolved != seen {
            return;
        }
        let resolved = join_all(self.settings.addresses.iter().map(|address| self.targets(address))).await;
        let mut state = lock(&self.state);
        let mut nodes = Vec::new();
        for (address, targets) in self.settings.addresses.iter().zip(resolved) {
            let known = state.nodes.iter().filter(|node| node.address == *address).cloned();
            match targets {
                Some(targets) => {
                    nodes.extend(targets.into_iter().map(|target| self.node(&state.nodes, address, target)));
                }
                // A name server that fails takes no node away.
                None => nodes.extend(known),
            }
        }
        nodes.truncate(MAX_NODES);
        state.nodes = nodes;
        state.resolved = Some(Instant::now());
    }

    fn node(&self, known: &[Arc<Node>], address: &Address, target: Target) -> Arc<Node> {
        let known = known.iter().find(|node| node.is_at(address, &target)).cloned();
        known.unwrap_or_else(|| {
            let (parent, files) = (self.settings.name.clone(), Arc::clone(&self.files));
            Arc::new(Node::new(parent, address.clone(), target, files))
        })
    }

    /// Returns where an address leads, each place once; `None` if it does not resolve.
    async fn targets(&self, address: &Address) -> Option<Vec<Target>> {
        let resolved = timeout(RESOLVE_TIMEOUT, (self.resolver)(address.clone())).await;
        let why = match resolved {
            Ok(Ok(targets)) => {
                let mut unique: Vec<Target> = Vec::new();
                for target in targets {
                    if !unique.contains(&target) {
                        unique.push(target);
                    }
                }
                return Some(unique);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the lookup timed out".to_owned(),
        };
        warn!(parent = %self.settings.name, %address, why, "parent address not resolved");
        None
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("settings", &self.settings).field("state", &self.state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
