//! Memory of the whole fleet.

use super::farm::{Farm, Shape};
use super::figures::{BROKER_BYTES, CONNECTION_BYTES, KEY_BYTES, WATCHED_BYTES};

/// Memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Memory {
    /// Of the brokers of all nodes.
    pub(crate) nodes: f64,
    /// Of all central brokers.
    pub(crate) central: f64,
}

impl Memory {
    pub(super) fn of(farm: &Farm, shape: Shape) -> Self {
        let keys = f64::from(farm.keys + u32::from(farm.public));
        let broker = BROKER_BYTES + keys * KEY_BYTES;
        let nodes = f64::from(farm.nodes) * broker;
        if shape == Shape::Alone {
            return Self { nodes, central: 0.0 };
        }
        let watched = if shape.watches() { keys * WATCHED_BYTES } else { 0.0 };
        let children = f64::from(farm.nodes) * (CONNECTION_BYTES + watched);
        Self { nodes, central: f64::from(farm.parents) * broker + children }
    }
}
