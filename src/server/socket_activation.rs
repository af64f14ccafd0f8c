//! Socket activation: takes over listening sockets that systemd opened, `sd_listen_fds(3)`.
//!
//! While the broker restarts, clients wait in the queue of such a socket instead of being refused.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use anyhow::{Context as _, bail, ensure};
use socket2::{Domain, SockRef, Type};

use crate::address::ListenAddress;
use crate::inherited::Inherited;

const NOT_LISTENING: &str = "the socket does not listen: it is a connection; set Accept=no in the .socket unit";

/// Sockets from the environment that no listener has taken yet.
#[derive(Debug, Default)]
pub struct ActivatedSockets(Vec<(ListenAddress, ActivatedSocket)>);

/// An activated socket.
#[derive(Debug)]
pub(super) enum ActivatedSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl ActivatedSockets {
    /// Takes the sockets among the descriptors that the service manager passed. Every descriptor must be one.
    ///
    /// # Errors
    /// Fails if a descriptor is not a socket that listens and has an address.
    pub fn take(inherited: Inherited) -> anyhow::Result<Self> {
        let sockets = inherited.rest().into_iter().map(|one| {
            let place = one.place;
            take_socket(one.descriptor).with_context(|| format!("cannot use activated socket {place} (LISTEN_FDS)"))
        });
        sockets.collect::<Result<_, _>>().map(Self)
    }

    /// Returns the addresses of the sockets.
    #[must_use]
    pub fn addresses(&self) -> Vec<ListenAddress> {
        self.0.iter().map(|(address, _)| address.clone()).collect()
    }

    /// Takes the socket that listens on `address`, if there is one.
    pub(super) fn take_at(&mut self, address: &ListenAddress) -> Option<ActivatedSocket> {
        let index = self.0.iter().position(|(own, _)| own == address)?;
        Some(self.0.swap_remove(index).1)
    }
}

fn take_socket(descriptor: OwnedFd) -> anyhow::Result<(ListenAddress, ActivatedSocket)> {
    let socket = SockRef::from(&descriptor);
    ensure!(socket.r#type().context("it is not a socket")? == Type::STREAM, "the socket is not a stream socket");
    ensure!(socket.is_listener()?, NOT_LISTENING);
    socket.set_nonblocking(true)?;
    match socket.domain()? {
        Domain::UNIX => {
            let socket = UnixListener::from(descriptor);
            let path = socket.local_addr()?.as_pathname().map(ToOwned::to_owned);
            let path =
                path.context("the Unix socket has no path, so no client can find it; set a path in ListenStream=")?;
            Ok((ListenAddress::Unix(path), ActivatedSocket::Unix(socket)))
        }
        Domain::IPV4 | Domain::IPV6 => {
            let socket = TcpListener::from(descriptor);
            Ok((ListenAddress::Tcp(socket.local_addr()?), ActivatedSocket::Tcp(socket)))
        }
        _ => bail!("the socket is neither a TCP nor a Unix socket"),
    }
}
