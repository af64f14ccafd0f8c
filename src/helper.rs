//! Credential helpers: the protocols by which other programs ask for registry credentials.
//!
//! A helper reads one request and prints one answer. `resolve.rs` decides what the broker has for a registry; each protocol only
//! translates its own wire format.

mod auth_entry;
pub mod bazel;
mod delegate;
pub mod docker;
mod fallback;
mod fetch;
pub mod kubelet;
mod observer;
mod output;
pub mod registry_auth;
mod resolve;
mod rollout;
mod setup;
mod stdin;
mod subprocess;

pub use self::output::Output;
pub use self::setup::Setup;
