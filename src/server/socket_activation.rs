//! Sockets that are open already when the program starts: systemd's socket activation, `sd_listen_fds(3)`. Whoever connects while the
//! broker is started anew waits in their queue instead of being refused.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use anyhow::{Context as _, ensure};
use listenfd::ListenFd;
use socket2::SockRef;

use crate::address::ListenAddress;

/// The sockets that were handed over, and have not been taken yet.
#[derive(Debug, Default)]
pub struct ActivatedSockets(Vec<(ListenAddress, Socket)>);

/// One of them.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl ActivatedSockets {
    /// Takes them out of the environment (`LISTEN_FDS`, `LISTEN_PID`). To be called once, before there is a second thread.
    ///
    /// # Errors
    /// Where one is no socket that can be listened on.
    pub fn take() -> anyhow::Result<Self> {
        let mut handed = ListenFd::from_env();
        let sockets = (0..handed.len()).map(|index| {
            let one = take_one(&mut handed, index);
            one.with_context(|| format!("socket {} of those that systemd hands over (LISTEN_FDS)", index + 1))
        });
        sockets.collect::<Result<_, _>>().map(Self)
    }

    /// Where they are.
    #[must_use]
    pub fn addresses(&self) -> Vec<ListenAddress> {
        self.0.iter().map(|(address, _)| address.clone()).collect()
    }

    pub(super) fn take_at(&mut self, address: &ListenAddress) -> Option<Socket> {
        let index = self.0.iter().position(|(own, _)| own == address)?;
        Some(self.0.swap_remove(index).1)
    }
}

fn take_one(handed: &mut ListenFd, index: usize) -> anyhow::Result<(ListenAddress, Socket)> {
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    if let Ok(socket) = handed.take_unix_listener(index) {
        let socket = socket.ok_or_else(gone)?;
        ensure!(SockRef::from(&socket).is_listener()?, NOT_LISTENING);
        socket.set_nonblocking(true)?;
        let path = socket.local_addr()?.as_pathname().map(ToOwned::to_owned);
        let path = path.context("a Unix socket without a path, where no client would find it")?;
        return Ok((ListenAddress::Unix(path), Socket::Unix(socket)));
    }
    let socket = handed.take_tcp_listener(index)?.ok_or_else(gone)?;
    ensure!(SockRef::from(&socket).is_listener()?, NOT_LISTENING);
    socket.set_nonblocking(true)?;
    Ok((ListenAddress::Tcp(socket.local_addr()?), Socket::Tcp(socket)))
}

const NOT_LISTENING: &str = "it is a connection and no listener; the .socket unit needs Accept=no";
