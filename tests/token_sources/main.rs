//! Token sources: jobs that authenticate for longer than their tokens live, against a real broker and conforming fakes of the platforms.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../certificates/mod.rs"]
mod certificates;
#[path = "../program/mod.rs"]
mod program;
#[path = "../support/mod.rs"]
mod support;
#[path = "../tokens/mod.rs"]
mod tokens;

mod clients;
mod endpoint;
mod job;
mod jobs;
mod long_jobs;
mod workload_api;
mod x509;
