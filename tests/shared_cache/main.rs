//! Shared cache with real servers: redis-server and valkey-server, each where it is installed.
//!
//! Most replicas are brokers in this process, with the composition of the program. `programs.rs` runs the program itself.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::duration_suboptimal_units,
    unreachable_pub,
    reason = "a test may"
)]

#[path = "../certificates/mod.rs"]
mod certificates;
#[path = "../collector/mod.rs"]
mod collector;
#[path = "../program/mod.rs"]
mod program;
#[path = "../secrets/mod.rs"]
mod secrets;
#[path = "../support/mod.rs"]
mod support;
#[path = "../tokens/mod.rs"]
mod tokens;

mod attacks;
mod canary;
mod fills;
mod fleet;
mod job_canary;
mod outages;
mod programs;
mod store;
mod topologies;
