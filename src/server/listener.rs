//! Listeners on TCP ports and Unix sockets.
//!
//! The file of a Unix socket never has wider permissions than its final mode, not even during its creation. The broker removes the
//! file at shutdown.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tracing::{info, warn};

use super::socket_activation::{ActivatedSocket, ActivatedSockets};
use crate::address::ListenAddress;
use crate::authn::{TcpPeer, UnixPeer};
use crate::limits::Origin;
use crate::mount;
use crate::trusted_file;

/// Connections that wait to be accepted. The kernel lowers it to `net.core.somaxconn`, 4096 by default.
const BACKLOG: i32 = 4_096;
/// Mode of a new directory of a socket, and what it lacks if every user may connect.
const DIRECTORY_MODE: u32 = 0o750;
const OPEN_DIRECTORY: u32 = 0o005;
/// Mode bits of others.
const OTHERS: u32 = 0o006;
/// Directories of the default sockets, which other users cannot write.
const ALTERNATIVES: &str = "/run/ecr-broker or $XDG_RUNTIME_DIR/ecr-broker";

/// Who may connect to a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketAccess {
    /// Mode of the file.
    pub mode: u32,
    /// Group of the file; `None`: that of the broker.
    pub group: Option<u32>,
}

/// Owner and group may connect, as with docker's socket.
impl Default for SocketAccess {
    fn default() -> Self {
        Self { mode: 0o660, group: None }
    }
}

impl SocketAccess {
    /// Returns whether every user of the host may connect.
    #[must_use]
    pub fn is_open_to_others(&self) -> bool {
        self.mode & OTHERS != 0
    }
}

/// A bound listener.
#[derive(Debug)]
pub(crate) struct Listener {
    address: ListenAddress,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    /// A Unix socket, with its file unless systemd owns the file.
    Unix(UnixListener, #[expect(dead_code, reason = "removes the file when dropped")] Option<SocketFile>),
}

/// An accepted connection.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// Over TCP.
    Tcp(TcpStream, TcpPeer),
    /// Over a Unix socket, with the peer's process.
    Unix(UnixStream, UnixPeer),
}

/// The file of a Unix socket. Dropping it removes the file, unless another process has replaced it.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Accepted {
    /// Returns where the connection comes from.
    pub(super) fn origin(&self) -> Origin {
        match self {
            Self::Tcp(_, peer) => Origin::of(peer.address),
            Self::Unix(_, peer) => peer.origin(),
        }
    }
}

impl Listener {
    /// Listens on an address. Uses the activated socket of that address if systemd passed one in.
    ///
    /// # Errors
    /// Fails if the address cannot be listened on; the error names the address.
    pub(crate) fn bind(address: &ListenAddress, sockets: &mut ActivatedSockets) -> anyhow::Result<Self> {
        Self::bind_for(SocketAccess::default(), address, sockets)
    }

    /// Listens on an address as [`Self::bind`] does; a new Unix socket has this access.
    ///
    /// # Errors
    /// As for [`Self::bind`], and if the process may not give the socket to the group.
    pub(crate) fn bind_for(
        access: SocketAccess,
        address: &ListenAddress,
        sockets: &mut ActivatedSockets,
    ) -> anyhow::Result<Self> {
        let bound = match (sockets.take_at(address), address) {
            (Some(socket), _) => Self::from_activated(address, socket),
            (None, ListenAddress::Tcp(address)) => Self::bind_tcp(*address),
            (None, ListenAddress::Unix(path)) => Self::bind_unix(path, access),
        };
        bound.with_context(|| match address {
            ListenAddress::Tcp(address) => format!("cannot listen on {address}"),
            ListenAddress::Unix(_) => format!("cannot listen on {address}"),
        })
    }

    /// Returns the address, with the port that the system chose.
    pub(crate) fn address(&self) -> &ListenAddress {
        &self.address
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Without it responses are slower, not wrong.
                let _ = stream.set_nodelay(true);
                Ok(Accepted::Tcp(stream, TcpPeer { address: address.ip().to_canonical(), is_proxied: false }))
            }
            Socket::Unix(listener, _) => accept_unix(listener).await,
        }
    }

    /// Converts an activated socket. Dropping the listener keeps the file of a Unix socket, because systemd owns it.
    fn from_activated(address: &ListenAddress, socket: ActivatedSocket) -> anyhow::Result<Self> {
        if let ListenAddress::Unix(path) = address {
            check_place(path)?;
        }
        let socket = match socket {
            ActivatedSocket::Tcp(listener) => Socket::Tcp(TcpListener::from_std(listener)?),
            ActivatedSocket::Unix(listener) => Socket::Unix(UnixListener::from_std(listener)?, None),
        };
        Ok(Self { address: address.clone(), socket })
    }

    fn bind_tcp(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind(address).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                anyhow::anyhow!("the port is in use; stop the other process or choose another port")
            }
            _ => error.into(),
        })?;
        widen_backlog(&listener)?;
        listener.set_nonblocking(true)?;
        let address = ListenAddress::Tcp(listener.local_addr()?);
        Ok(Self { address, socket: Socket::Tcp(TcpListener::from_std(listener)?) })
    }

    /// Creates the socket in a private directory, sets its mode, and then moves it to `path`. Replaces a socket that an earlier process
    /// left at `path`. The directory has a random name, so that it never collides with one that a killed process left. The process ID
    /// would not do: it repeats in a container.
    fn bind_unix(path: &Path, access: SocketAccess) -> anyhow::Result<Self> {
        check_not_in_use(path)?;
        let directory = path.parent().context("the path has no directory")?;
        if !directory.exists() {
            create_directory(directory, access)?;
        }
        check_place(path)?;
        let private = directory.join(private_name());
        fs::DirBuilder::new().mode(0o700).create(&private)?;
        let made = make_socket(&private.join("s"), path, access);
        fs::remove_dir_all(&private)?;
        let (listener, file) = made?;
        Ok(Self { address: ListenAddress::Unix(path.to_owned()), socket: Socket::Unix(listener, Some(file)) })
    }
}

/// Lets the kernel queue a burst of connections, instead of the 128 of the standard library.
fn widen_backlog<S: AsFd>(listener: &S) -> io::Result<()> {
    SockRef::from(listener).listen(BACKLOG)
}

/// Accepts the next connection whose peer the kernel names.
async fn accept_unix(listener: &UnixListener) -> io::Result<Accepted> {
    loop {
        let (stream, _) = listener.accept().await?;
        match UnixPeer::of(&stream) {
            Ok(peer) => return Ok(Accepted::Unix(stream, peer)),
            Err(error) => warn!(%error, "connection rejected: no peer credentials"),
        }
    }
}

/// Returns a short name, because socket paths are limited; `address::MAX_SOCKET_DIRECTORY` leaves room for it.
fn private_name() -> String {
    std::iter::once('.').chain(std::iter::repeat_with(fastrand::alphanumeric).take(6)).collect()
}

fn make_socket(private: &Path, path: &Path, access: SocketAccess) -> anyhow::Result<(UnixListener, SocketFile)> {
    let listener = UnixListener::bind(private)?;
    widen_backlog(&listener)?;
    give_to_group(private, access)?;
    fs::set_permissions(private, Permissions::from_mode(access.mode))?;
    // Read the inode before the move: at `path`, another process could replace the file.
    let inode = fs::metadata(private)?.ino();
    fs::rename(private, path)?;
    Ok((listener, SocketFile { path: path.to_owned(), inode }))
}

/// Creates the directory of a socket. Those above it must exist: a path with a typing error must not make a tree.
fn create_directory(directory: &Path, access: SocketAccess) -> anyhow::Result<()> {
    check_parent(directory)?;
    let mode = DIRECTORY_MODE | if access.is_open_to_others() { OPEN_DIRECTORY } else { 0 };
    fs::DirBuilder::new().mode(mode).create(directory)?;
    info!(directory = %directory.display(), "socket directory created");
    give_to_group(directory, access)
}

fn give_to_group(path: &Path, access: SocketAccess) -> anyhow::Result<()> {
    let Some(group) = access.group else { return Ok(()) };
    let problem = "server.socket_group: the broker's user is not in the group; add it, or name another group";
    chown(path, None, Some(group)).context(problem)
}

/// Checks that a socket can be created at a path: its directory is safe, or can be created in an existing one.
///
/// # Errors
/// Fails with the fix.
pub fn check_socket_directory(path: &Path) -> anyhow::Result<()> {
    let directory = path.parent().context("the path has no directory")?;
    match directory.try_exists() {
        Ok(true) => check_place(path),
        Ok(false) => check_parent(directory),
        // A directory that this user may not see is not judged.
        Err(_) => Ok(()),
    }
}

/// Fails if the directory above is missing.
fn check_parent(directory: &Path) -> anyhow::Result<()> {
    let above = directory.parent().unwrap_or(directory);
    if !above.try_exists().unwrap_or(true) {
        bail!("{} does not exist; create it or correct the path", above.display());
    }
    Ok(())
}

/// Fails if another process uses the path: its file is not a socket, or a process accepts connections on the socket.
fn check_not_in_use(path: &Path) -> anyhow::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        bail!("the path is a file that is not a socket; remove it or choose another path");
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Ok(()),
        Err(error) => Err(error).context("cannot tell whether another process listens there"),
        Ok(_) => bail!("another process listens there; stop it or choose another path"),
    }
}

/// Rejects a directory in which another user can replace the socket, and one above it. Accepts a volume, such as a pod's `emptyDir`
/// (0777): the operator chose the processes that see it.
fn check_place(path: &Path) -> anyhow::Result<()> {
    let Err(problem) = trusted_file::check_socket(path) else { return Ok(()) };
    let directory = path.parent().context("the path has no directory")?.canonicalize()?;
    if !mount::is_volume(&directory)? {
        bail!("the socket {}, or use {ALTERNATIVES}, or mount a volume there", problem.of_written_file());
    }
    let replaceable_by = "every process that has this volume mounted writable";
    info!(directory = %directory.display(), replaceable_by, "shared socket directory accepted");
    Ok(())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    #[test]
    fn socket_directory_that_others_can_write_needs_a_sticky_bit_or_a_volume() {
        let directory = tempfile::tempdir().unwrap();
        let check = |mode| {
            fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
            check_place(&directory.path().join("broker.sock")).map_err(|error| error.to_string())
        };
        assert_eq!((check(0o755), check(0o750), check(0o1777)), (Ok(()), Ok(()), Ok(())));
        let refused = check(0o777).unwrap_err();
        let fix = "chmod o-w it, or use /run/ecr-broker or $XDG_RUNTIME_DIR/ecr-broker, or mount a volume there";
        assert!(refused.ends_with(fix), "{refused}");
        if chown(directory.path(), None, Some(4_242)).is_ok() {
            assert_eq!(check(0o1770), Ok(()));
            let refused = check(0o770).unwrap_err();
            assert!(refused.contains("which group 4242 can write"), "{refused}");
        }
    }
}
