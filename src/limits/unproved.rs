//! Unproved connections: TCP peers that have neither a certificate nor, so far, an accepted token. Their share of connections and
//! memory is limited for all of them together.
//!
//! A place costs such a peer nothing, so a limit that refuses newcomers would shut out honest peers. Instead a newcomer always gets
//! a place, and the broker ends a connection of the origin that has the most.

mod call;
mod connection;
mod end;
mod registry;
mod tls_bytes;

#[cfg(test)]
mod tests;

pub use self::call::{HealthWatch, UnprovedCall};
pub use self::connection::{Unproved, UnprovedConnections};
pub use self::tls_bytes::UnprovedTlsBytes;
