//! Callers that a child broker forwards to its parent: what both grant, and what the audit log of the parent says.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../certificates/mod.rs"]
mod certificates;
#[allow(dead_code, reason = "the tests of TLS use all of it")]
#[path = "../tls/federation.rs"]
mod federation;
#[path = "../program/mod.rs"]
mod program;
#[path = "../support/mod.rs"]
mod support;
#[path = "../tokens/mod.rs"]
mod tokens;

mod fleet;
mod metadata;
mod parent;
