//! TLS: authentication by client certificates, rejected handshakes and reloaded files.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

#[path = "../certificates/mod.rs"]
mod certificates;
#[path = "../openssl/mod.rs"]
mod openssl;
#[path = "../program/mod.rs"]
mod program;
#[path = "../support/mod.rs"]
mod support;
#[path = "../tokens/mod.rs"]
mod tokens;

mod callers;
mod federation;
mod files;
mod handshakes;
mod revocation_lists;
mod roots;
mod served;
mod served_lists;
