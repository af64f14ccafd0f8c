//! Socket activation: takes over listening sockets that systemd opened, `sd_listen_fds(3)`.
//!
//! While the broker restarts, clients wait in the queue of such a socket instead of being refused.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use anyhow::{Context as _, ensure};
use listenfd::ListenFd;
use socket2::SockRef;

use crate::address::ListenAddress;

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
    /// Takes the sockets out of the environment (`LISTEN_FDS`, `LISTEN_PID`). It changes the environment, so call it once, before
    /// the process has a second thread.
    ///
    /// # Errors
    /// Fails if a socket does not listen or has no address.
    pub fn take() -> anyhow::Result<Self> {
        let mut environment = ListenFd::from_env();
        let sockets = (0..environment.len()).map(|index| {
            let socket = take_socket(&mut environment, index);
            socket.with_context(|| format!("cannot use activated socket {} (LISTEN_FDS)", index + 1))
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

fn take_socket(environment: &mut ListenFd, index: usize) -> anyhow::Result<(ListenAddress, ActivatedSocket)> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    if let Ok(socket) = environment.take_unix_listener(index) {
        let socket = socket.ok_or_else(missing)?;
        ensure!(SockRef::from(&socket).is_listener()?, NOT_LISTENING);
        socket.set_nonblocking(true)?;
        let path = socket.local_addr()?.as_pathname().map(ToOwned::to_owned);
        let path =
            path.context("the Unix socket has no path, so no client can find it; set a path in ListenStream=")?;
        return Ok((ListenAddress::Unix(path), ActivatedSocket::Unix(socket)));
    }
    let socket = environment.take_tcp_listener(index)?.ok_or_else(missing)?;
    ensure!(SockRef::from(&socket).is_listener()?, NOT_LISTENING);
    socket.set_nonblocking(true)?;
    Ok((ListenAddress::Tcp(socket.local_addr()?), ActivatedSocket::Tcp(socket)))
}
