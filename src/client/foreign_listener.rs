//! Listeners of Unix sockets: the user of the program behind a socket, compared with the owner of the socket's directory.
//!
//! A user who can write the directory, such as one of the callers' group, can put a socket there in place of the broker's. The kernel
//! tells which user listens on it.

use std::io;
use std::path::PathBuf;

/// A program that listens on a Unix socket and is not of the user to whom the directory belongs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("user {listener} listens there, but {} belongs to user {owner}", directory.display())]
pub(super) struct ForeignListener {
    pub(super) directory: PathBuf,
    pub(super) listener: u32,
    pub(super) owner: u32,
}

impl ForeignListener {
    /// Returns whether this is the error of an attempt to connect.
    pub(super) fn is_cause(error: &io::Error) -> bool {
        matches!(error.get_ref(), Some(inner) if inner.is::<Self>())
    }
}
