//! Memory that connections hold, within a limit for all and one for each origin.
//!
//! Each connection has an account. If all accounts, or those of one origin, hold too much, the largest connection of the origin that
//! holds most is closed. A closed connection keeps its memory for a moment: meanwhile the others are paused, which reads nothing more
//! from them. Released memory wakes one paused connection, and that one wakes the next if there is still room.

mod account;
mod balance;
mod budget;
mod paused;

#[cfg(test)]
mod tests;

pub(in crate::limits) use self::account::Account;
pub(in crate::limits) use self::budget::{Budget, Limit};
