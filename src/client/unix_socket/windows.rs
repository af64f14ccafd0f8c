//! Unix sockets on Windows, for which Rust has no stable interface.

use std::io;
use std::path::PathBuf;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Fails: a broker is reached over TCP.
pub(in crate::client) async fn connect_to_broker(_path: PathBuf) -> io::Result<TokioIo<TcpStream>> {
    unsupported("set ECR_BROKER_ADDRESS to https://HOST:PORT")
}

/// Fails.
pub(in crate::client) async fn connect(_path: PathBuf) -> io::Result<TokioIo<TcpStream>> {
    unsupported("use tcp://IP:PORT")
}

fn unsupported<T>(fix: &str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, format!("Unix sockets do not work on Windows; {fix}")))
}
