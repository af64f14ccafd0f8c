//! Listeners: a TCP port, or a Unix socket that is never reachable with the wrong mode and never left behind.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tracing::warn;

use super::socket_activation::{self, ActivatedSockets};
use crate::address::ListenAddress;
use crate::authn::UnixPeer;

/// Owner and group may connect, as with docker's socket.
const SOCKET_MODE: u32 = 0o660;

/// A bound listener.
#[derive(Debug)]
pub(super) struct Listener {
    address: ListenAddress,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    /// With its file, unless that is somebody else's.
    Unix(UnixListener, #[expect(dead_code, reason = "removed when it is dropped")] Option<SocketFile>),
}

/// A connection that was accepted.
#[derive(Debug)]
pub(super) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream, UnixPeer),
}

/// A socket's file, removed when the listener goes, unless another process has put its own there since.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Listener {
    /// Listens there, on the socket that was handed over where there is one.
    pub(super) fn bind(address: &ListenAddress, handed: &mut ActivatedSockets) -> anyhow::Result<Self> {
        match (handed.take_at(address), address) {
            (Some(socket), _) => Self::on(address, socket),
            (None, ListenAddress::Tcp(address)) => Self::bind_tcp(*address),
            (None, ListenAddress::Unix(path)) => Self::bind_unix(path),
        }
    }

    pub(super) fn address(&self) -> &ListenAddress {
        &self.address
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Where it cannot be set answers are merely slower.
                let _ = stream.set_nodelay(true);
                Ok(Accepted::Tcp(stream, peer))
            }
            Socket::Unix(listener, _) => accept_unix(listener).await,
        }
    }

    /// The file of a Unix socket belongs to whoever made it.
    fn on(address: &ListenAddress, socket: socket_activation::Socket) -> anyhow::Result<Self> {
        let socket = match socket {
            socket_activation::Socket::Tcp(listener) => Socket::Tcp(TcpListener::from_std(listener)?),
            socket_activation::Socket::Unix(listener) => Socket::Unix(UnixListener::from_std(listener)?, None),
        };
        Ok(Self { address: address.clone(), socket })
    }

    fn bind_tcp(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind(address).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                anyhow::anyhow!("the port is in use by another process; stop that one or choose another port")
            }
            _ => error.into(),
        })?;
        listener.set_nonblocking(true)?;
        let address = ListenAddress::Tcp(listener.local_addr()?);
        Ok(Self { address, socket: Socket::Tcp(TcpListener::from_std(listener)?) })
    }

    /// The socket is made in a directory that nobody else can enter, given its mode, and only then moved to its place, over a
    /// file that an earlier process may have left. The directory's name is new each time: one that a killed process left, in a
    /// container with the same process id too, must not be in the way.
    fn bind_unix(path: &Path) -> anyhow::Result<Self> {
        refuse_taken(path)?;
        let directory = path.parent().context("the path has no directory")?;
        if !directory.exists() {
            fs::DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
        }
        let permissions = fs::metadata(directory)?.permissions();
        if permissions.mode() & 0o1002 == 0o002 {
            bail!("anybody could put a socket of their own there; take a directory that others cannot write to");
        }
        let workshop = directory.join(workshop_name());
        fs::DirBuilder::new().mode(0o700).create(&workshop)?;
        let made = make_socket(&workshop.join("s"), path);
        fs::remove_dir_all(&workshop)?;
        let (listener, file) = made?;
        Ok(Self { address: ListenAddress::Unix(path.to_owned()), socket: Socket::Unix(listener, Some(file)) })
    }
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

/// Short, for the path of a socket must not be long; `address::LONGEST_SOCKET_DIRECTORY` leaves room for it.
fn workshop_name() -> String {
    std::iter::once('.').chain(std::iter::repeat_with(fastrand::alphanumeric).take(6)).collect()
}

fn make_socket(workplace: &Path, path: &Path) -> anyhow::Result<(UnixListener, SocketFile)> {
    let listener = UnixListener::bind(workplace)?;
    fs::set_permissions(workplace, Permissions::from_mode(SOCKET_MODE))?;
    // Before it is where others can put theirs in its place.
    let inode = fs::metadata(workplace)?.ino();
    fs::rename(workplace, path)?;
    Ok((listener, SocketFile { path: path.to_owned(), inode }))
}

/// A file that is no socket, or a socket that answers, is somebody else's.
fn refuse_taken(path: &Path) -> anyhow::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        bail!("there is a file that is not a socket; remove it or choose another path");
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Ok(()),
        Err(error) => Err(error).context("it cannot be told whether another process is listening there"),
        Ok(_) => bail!("another process is listening there; stop that one or choose another path"),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
