//! Brokers that ask other brokers: the real program as child and as parent, with a simulated AWS behind the last.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../certificates/mod.rs"]
mod certificates;
#[path = "../collector/mod.rs"]
mod collector;
#[path = "../program/mod.rs"]
mod program;
#[path = "../support/mod.rs"]
mod support;
#[path = "../tokens/mod.rs"]
mod tokens;

mod brokers;
mod chains;
mod errors;
mod hostile;
mod identities;
mod serving;
