//! Connections to Unix sockets, and the check of the user who listens.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use rustix::process::geteuid;
use tokio::net::UnixStream;

use crate::client::foreign_listener::ForeignListener;
use crate::mount;

/// User ID of root.
const ROOT: u32 = 0;

/// Connects to the broker's socket.
pub(in crate::client) async fn connect_to_broker(path: PathBuf) -> io::Result<TokioIo<UnixStream>> {
    match UnixStream::connect(&path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && is_other_file(&path) => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a socket"))
        }
        connected => {
            let stream = connected?;
            check(&path, &stream)?;
            Ok(TokioIo::new(stream))
        }
    }
}

/// Connects to a socket of another program.
pub(in crate::client) async fn connect(path: PathBuf) -> io::Result<TokioIo<UnixStream>> {
    UnixStream::connect(path).await.map(TokioIo::new)
}

/// Returns whether another file than a socket is there. A broker that restarts removes its socket after it refused the connection.
fn is_other_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.file_type().is_socket())
}

/// Rejects a connection to a listener of a foreign user.
///
/// The listener may belong to root, to the owner of the directory, or to the client's user, who needs no false broker. In a volume of
/// a container any user may listen, and with a mounted socket too: the operator chose which processes see it.
fn check(socket: &Path, stream: &UnixStream) -> io::Result<()> {
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
