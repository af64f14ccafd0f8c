//! Cluster: finds the node of an entry.
//!
//! Each node answers for its own slots and names the node of every other slot. So the broker asks any node first, and remembers the
//! answer by slot. That costs one more round trip for the first operation in a slot, and needs no map of the cluster.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::Value;
use tokio::time::Instant;

use super::dial::{Dialer, Place};
use super::fault::{Fault, FaultClass};
use super::node::Node;
use super::scripts::Call;
use super::target::Address;
use crate::sync::lock;

/// Most redirections of one operation.
const MAX_REDIRECTS: usize = 3;
/// Most nodes that are remembered.
const MAX_NODES: usize = 256;
/// Time after which a node that is not configured and cannot be reached is forgotten.
const FORGET_AFTER: Duration = Duration::from_mins(5);
/// Slots of a cluster.
const SLOTS: u16 = 16_384;

/// The nodes of a cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    dialer: Arc<Dialer>,
    seeds: Vec<Arc<Node>>,
    known: Mutex<Known>,
}

/// What redirections have told.
#[derive(Debug, Default)]
struct Known {
    nodes: HashMap<Address, Arc<Node>>,
    slots: HashMap<u16, Arc<Node>>,
}

impl Cluster {
    pub(super) fn start(addresses: Vec<Address>, dialer: Arc<Dialer>) -> Self {
        let node = |address: Address| (address.clone(), Node::start(Place::InCluster(address), Arc::clone(&dialer)));
        let nodes: HashMap<_, _> = addresses.into_iter().map(node).collect();
        let seeds = nodes.values().cloned().collect();
        Self { dialer, seeds, known: Mutex::new(Known { nodes, slots: HashMap::new() }) }
    }

    /// Runs an operation on the node that has the entry `name`.
    pub(super) async fn run(&self, name: &str, call: &Call<'_>, deadline: Instant) -> Result<Value, Fault> {
        let slot = slot(name);
        let (mut node, mut asking) = (self.node_of(slot).ok_or(Fault::Open)?, false);
        for _ in 0..=MAX_REDIRECTS {
            match node.run(call, asking, deadline).await {
                Err(Fault::Moved(to)) => (node, asking) = (self.remember(slot, to)?, false),
                Err(Fault::Ask(to)) => (node, asking) = (lock(&self.known).node(to, &self.dialer)?, true),
                Err(fault) => {
                    // Another node knows whether this one has a successor.
                    lock(&self.known).slots.retain(|_, of| !Arc::ptr_eq(of, &node));
                    return Err(fault);
                }
                answer => return answer,
            }
        }
        Err(FaultClass::Moved.into())
    }

    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        let mut known = lock(&self.known);
        known.forget(&self.seeds);
        known.nodes.values().cloned().collect()
    }

    /// Returns the node of a slot, or one to ask for it.
    fn node_of(&self, slot: u16) -> Option<Arc<Node>> {
        let known = lock(&self.known);
        let first = fastrand::usize(..self.seeds.len().max(1));
        let seeds = self.seeds.iter().cycle().skip(first).take(self.seeds.len());
        let others = seeds.chain(known.nodes.values()).filter(|node| !node.is_open());
        known.slots.get(&slot).or_else(|| others.into_iter().next()).cloned()
    }

    fn remember(&self, slot: u16, address: Address) -> Result<Arc<Node>, Fault> {
        let mut known = lock(&self.known);
        known.forget(&self.seeds);
        let node = known.node(address, &self.dialer)?;
        known.slots.insert(slot, Arc::clone(&node));
        Ok(node)
    }
}

impl Known {
    fn node(&mut self, address: Address, dialer: &Arc<Dialer>) -> Result<Arc<Node>, Fault> {
        if let Some(node) = self.nodes.get(&address) {
            return Ok(Arc::clone(node));
        }
        if self.nodes.len() >= MAX_NODES {
            return Err(FaultClass::Moved.into());
        }
        let node = Node::start(Place::InCluster(address.clone()), Arc::clone(dialer));
        self.nodes.insert(address, Arc::clone(&node));
        Ok(node)
    }

    fn forget(&mut self, seeds: &[Arc<Node>]) {
        let is_seed = |node: &Arc<Node>| seeds.iter().any(|seed| Arc::ptr_eq(seed, node));
        let is_gone = |node: &Arc<Node>| node.is_open() && node.condition().since.elapsed() > FORGET_AFTER;
        self.nodes.retain(|_, node| is_seed(node) || !is_gone(node));
    }
}

/// Returns the slot of the keys with `tag` between their braces: CRC-16 (XMODEM) of it.
fn slot(tag: &str) -> u16 {
    let step = |crc: u16| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
    let crc = tag.bytes().fold(0, |crc, byte| (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| step(crc)));
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_is_that_of_the_specification() {
        assert_eq!(slot("123456789"), 0x31C3);
        assert_eq!((slot("foo"), slot("bar"), slot("")), (12_182, 5_061, 0));
    }
}
