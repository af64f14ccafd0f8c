//! Audit log (P11): every release has a record, no record holds a secret, and the records answer who holds what.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

#[path = "../program/mod.rs"]
mod program;
#[path = "../support/mod.rs"]
mod support;
#[path = "../tokens/mod.rs"]
mod tokens;

mod answers;
mod inputs;
mod records;
mod tighten;
mod who;
