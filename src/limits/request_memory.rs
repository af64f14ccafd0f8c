//! Memory of requests on proved connections: those of local users, of client certificates, and with an accepted token.
//!
//! What a peer sends stays in memory until it is a message that the broker can answer, and limits of requests count calls, not bytes.
//! So each connection has an account of what waits. If all accounts, or those of one origin, hold too much, the largest connection
//! of the origin that holds most is closed.

mod account;
mod body;
mod connection;
mod registry;

#[cfg(test)]
mod tests;

pub use self::body::BodyMemory;
pub use self::connection::{ConnectionMemory, HeldMemory, RequestMemory};
