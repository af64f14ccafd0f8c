//! Listeners of Unix sockets: the user of the program behind a socket, compared with the owner of the socket's directory.
//!
//! A user who can write the directory, such as one of the callers' group, can put a socket there in place of the broker's. The kernel
//! tells which user listens on it.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use tokio::net::UnixStream;

use crate::mount;

/// User ID of root.
const ROOT: u32 = 0;

/// A program that listens on a Unix socket and is not of the user to whom the directory belongs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("user {listener} listens there, but {} belongs to user {owner}", directory.display())]
pub(super) struct ForeignListener {
    directory: PathBuf,
    listener: u32,
    owner: u32,
}

impl ForeignListener {
    /// Returns whether this is the error of an attempt to connect.
    pub(super) fn is_cause(error: &io::Error) -> bool {
        matches!(error.get_ref(), Some(inner) if inner.is::<Self>())
    }
}

/// Rejects a connection to a listener of a foreign user.
///
/// The listener may belong to root, to the owner of the directory, or to the client's user, who needs no false broker. In a volume of
/// a container any user may listen, and with a mounted socket too: the operator chose which processes see it.
pub(super) fn check(socket: &Path, stream: &UnixStream) -> io::Result<()> {
    // Not the directory of a link's target: a user who puts a link in place of the socket chooses that.
    let directory = socket.parent().unwrap_or(socket);
    let (listener, owner) = (stream.peer_cred()?.uid(), std::fs::metadata(directory)?.uid());
    if [ROOT, owner, geteuid().as_raw()].contains(&listener) || is_mounted(socket, directory).unwrap_or(false) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        ForeignListener { directory: directory.to_owned(), listener, owner },
    ))
}

/// Returns whether the directory is a volume, or the socket is mounted alone.
fn is_mounted(socket: &Path, directory: &Path) -> io::Result<bool> {
    let directory = directory.canonicalize()?;
    let socket = socket.file_name().map(|name| directory.join(name));
    Ok(mount::is_volume(&directory)? || socket.map_or(Ok(false), |socket| mount::is_volume(&socket))?)
}
