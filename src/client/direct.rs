//! Connections to single places of an address, for a pool that chooses among them itself.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::address::Address;
use super::connector::{dial, resolve as resolve_host};
use super::tls_problem::connection_error;
use super::unix_socket::connect_to_broker;

/// A place where an address leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// An address of a host, with its port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Socket(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Returns the places of an address: each address that its host name has now.
pub(crate) async fn resolve(address: &Address) -> io::Result<Vec<Target>> {
    match address {
        Address::Unix(path) => Ok(vec![Target::Socket(path.clone())]),
        Address::Plain(host) | Address::Tls(host) => {
            Ok(resolve_host(host).await?.into_iter().map(Target::Tcp).collect())
        }
    }
}

/// Opens a channel to one place. It takes as long as TCP and TLS take: the caller sets the time limit. An error says why in words.
pub(crate) async fn open(endpoint: &Endpoint, target: Target) -> Result<Channel, String> {
    let opened = match target {
        Target::Socket(path) => {
            endpoint.connect_with_connector(service_fn(move |_| connect_to_broker(path.clone()))).await
        }
        Target::Tcp(address) => {
            let connect = move |_| async move { dial(address).await.map(hyper_util::rt::TokioIo::new) };
            endpoint.connect_with_connector(service_fn(connect)).await
        }
    };
    opened.map_err(|error| connection_error(&error))
}
