//! The seam between an endpoint and what its connections speak.

use std::fmt::Debug;

use futures_util::future::BoxFuture;

use super::lifetime::Lifetime;
use super::listener::Accepted;
use crate::limits::Origin;

/// The protocol of an endpoint's connections.
pub(crate) trait Protocol: Debug + Send + Sync {
    /// The URL scheme of a TCP endpoint.
    fn scheme(&self) -> &'static str;

    /// The prefix of a Unix socket's path in its URL.
    fn unix_scheme(&self) -> &'static str {
        "unix"
    }

    /// The fix for a configuration whose AWS endpoint leads to an endpoint of this protocol.
    fn loop_fix(&self) -> &'static str;

    /// Whether a TCP peer must prove who it is, by its connection or by a call, before it may hold a place for long.
    fn needs_proof(&self) -> bool {
        true
    }

    /// Serves one connection until it ends by itself or by its lifetime. The endpoint's loop drops the future to abort it.
    fn serve<'a>(&'a self, stream: Accepted, origin: Origin, lifetime: &'a Lifetime) -> BoxFuture<'a, ()>;
}
