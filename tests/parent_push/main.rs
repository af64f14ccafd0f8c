//! Pushes of a parent broker: their adoption by the cache, and watches of children on their parents.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::float_cmp, reason = "a test may")]

#[path = "../scraped/mod.rs"]
mod scraped;
#[path = "../support/mod.rs"]
mod support;

mod adoption;
mod child;
mod fleet;
mod outage;
