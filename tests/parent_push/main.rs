//! Pushes of a parent broker: their adoption by the cache, and watches of children on their parents.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../support/mod.rs"]
mod support;

mod adoption;
