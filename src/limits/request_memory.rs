//! Memory of requests on proved connections: those of local users, of client certificates, and with an accepted token.
//!
//! What a peer sends stays in memory until it is a message that the broker can answer, and limits of requests count calls, not bytes.
//! So each connection has an account of what waits.

mod body;
mod connection;

#[cfg(test)]
mod tests;

pub use self::body::BodyMemory;
pub use self::connection::{ConnectionMemory, HeldMemory, RequestMemory};
