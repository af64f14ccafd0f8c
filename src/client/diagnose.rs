//! Connects to one address and reports the step that fails: name resolution, TCP, plaintext HTTP/2 or TLS.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::address::Address;
use super::connection::{CONNECT_TIMEOUT, Connection, connect_timeout, endpoint};
use super::failure::{causes, error_chain};
use super::settings::Settings;
use super::tls_problem::TlsProblem;

/// HTTP/2 client preface with an empty SETTINGS frame.
const CLIENT_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Bytes of an answer that identify the protocol: the length and type of an HTTP/2 frame.
const FRAME_HEAD: usize = 4;
/// Type of the frame that an HTTP/2 server sends first.
const SETTINGS_FRAME: u8 = 4;
/// First byte of a TLS alert.
const TLS_ALERT: u8 = 0x15;
/// Limit of symbolic links to follow on the path to a socket; it stops at a circle of links.
const MAX_LINKS: usize = 8;

/// Why there is no connection to an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// A Unix socket that does not exist.
    #[error("the socket does not exist")]
    SocketMissing,
    /// A socket that this user may not open, or a directory on its path that this user may not search.
    #[error("permission denied by {}", by.display())]
    PermissionDenied {
        /// Path of the socket or the directory.
        by: PathBuf,
    },
    /// A port or socket without a listener.
    #[error("connection refused: nothing listens there")]
    Refused,
    /// A host name that does not resolve.
    #[error("the host name does not resolve: {0}")]
    UnknownHost(String),
    /// A DNS lookup that timed out.
    #[error("DNS lookup timed out")]
    DnsTimeout,
    /// A connection attempt that timed out.
    #[error("connection timed out")]
    ConnectTimeout,
    /// A listener that accepts the connection and sends nothing.
    #[error("it accepts connections but sends nothing")]
    Silent,
    /// A TLS failure.
    #[error("{0}")]
    Tls(TlsProblem),
    /// A TLS listener behind an `http://` address.
    #[error("it speaks TLS, but the address says http")]
    TlsOnly,
    /// A listener that speaks another protocol.
    #[error("it does not speak gRPC")]
    NotGrpc,
    /// Any other failure.
    #[error("{0}")]
    Other(String),
}

/// Connects to an address. Each step has the same time limit that [`Connection::open`] has for all steps together.
pub(super) async fn connect(settings: &Settings, address: &Address) -> Result<Connection, ConnectError> {
    let limit = connect_timeout(settings, address);
    let hosts = match address {
        Address::Plain(authority) | Address::Tls(authority) => resolve(lookup(authority), limit).await?,
        Address::Unix(_) => Vec::new(),
    };
    if matches!(address, Address::Plain(_)) {
        probe_http2(&hosts, limit, settings.timeout).await?;
    }
    let endpoint = endpoint(address, settings).map_err(ConnectError::Other)?;
    match timeout(limit, endpoint.connect()).await {
        Ok(Ok(channel)) => Ok(Connection { channel, address: address.clone() }),
        Ok(Err(error)) if address.is_tls() => Err(recheck_plaintext(classify(&error, address), &hosts).await),
        Ok(Err(error)) => Err(classify(&error, address)),
        Err(_) => Err(ConnectError::ConnectTimeout),
    }
}

/// Replaces an unspecific TLS failure if the server speaks plaintext HTTP/2: such a server may just close the connection.
async fn recheck_plaintext(problem: ConnectError, hosts: &[SocketAddr]) -> ConnectError {
    match problem {
        ConnectError::Other(_) if probe_http2(hosts, CONNECT_TIMEOUT, CONNECT_TIMEOUT).await.is_ok() => {
            ConnectError::Tls(TlsProblem::NotTls)
        }
        _ => problem,
    }
}

async fn lookup(authority: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(lookup_host(authority).await?.collect())
}

async fn resolve(
    lookup: impl Future<Output = io::Result<Vec<SocketAddr>>>,
    limit: Duration,
) -> Result<Vec<SocketAddr>, ConnectError> {
    match timeout(limit, lookup).await {
        Ok(Ok(hosts)) if hosts.is_empty() => Err(ConnectError::UnknownHost("the name has no addresses".to_owned())),
        Ok(resolved) => resolved.map_err(|error| ConnectError::UnknownHost(error.to_string())),
        Err(_) => Err(ConnectError::DnsTimeout),
    }
}

/// Checks that a plaintext listener answers the HTTP/2 preface.
///
/// tonic opens a plaintext channel without waiting for an answer, so only this finds another protocol or a silent listener.
/// The answer may take as long as a call, because a call would wait that long too.
async fn probe_http2(
    hosts: &[SocketAddr],
    connect_limit: Duration,
    answer_limit: Duration,
) -> Result<(), ConnectError> {
    let mut stream = timeout(connect_limit, connect_any(hosts)).await.map_err(|_| ConnectError::ConnectTimeout)??;
    let mut head = [0; FRAME_HEAD];
    let answer = async {
        stream.write_all(CLIENT_PREFACE).await?;
        stream.read_exact(&mut head).await
    };
    match (timeout(answer_limit, answer).await, head) {
        (Err(_), _) => Err(ConnectError::Silent),
        (Ok(Ok(_)), [TLS_ALERT, ..]) => Err(ConnectError::TlsOnly),
        (Ok(Ok(_)), [.., SETTINGS_FRAME]) => Ok(()),
        _ => Err(ConnectError::NotGrpc),
    }
}

/// Connects to all addresses of a host at once and returns the first stream, because one of them may be unroutable.
async fn connect_any(hosts: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let mut attempts: JoinSet<_> = hosts.iter().copied().map(TcpStream::connect).collect();
    let mut problem = ConnectError::Refused;
    while let Some(attempt) = attempts.join_next().await {
        match attempt.map_err(io::Error::other).flatten() {
            Ok(stream) => return Ok(stream),
            Err(error) => problem = classify_io(&error, None),
        }
    }
    Err(problem)
}

fn classify(error: &(dyn Error + 'static), address: &Address) -> ConnectError {
    if let Some(problem) = TlsProblem::find_in(error) {
        return ConnectError::Tls(problem);
    }
    let path = if let Address::Unix(path) = address { Some(path.as_path()) } else { None };
    let io = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>());
    io.map_or_else(|| ConnectError::Other(error_chain(error)), |error| classify_io(error, path))
}

fn classify_io(error: &io::Error, path: Option<&Path>) -> ConnectError {
    match (error.kind(), path) {
        (io::ErrorKind::ConnectionRefused, Some(path)) if !is_socket(path) => {
            ConnectError::Other("it is not a socket".to_owned())
        }
        (io::ErrorKind::ConnectionRefused, _) => ConnectError::Refused,
        (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, Some(_)) => ConnectError::SocketMissing,
        (io::ErrorKind::PermissionDenied, Some(path)) => ConnectError::PermissionDenied { by: denied_by(path) },
        _ => ConnectError::Other(error.to_string()),
    }
}

fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// Returns the visible path component nearest to the socket, through symbolic links: it is the one that denies access.
fn denied_by(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let seen = path.ancestors().find(|one| std::fs::metadata(one).is_ok()).unwrap_or(&path);
        let mut below = path.strip_prefix(seen).unwrap_or(seen).components();
        let link = below.next().and_then(|next| std::fs::read_link(seen.join(next)).ok());
        let Some(link) = link else { return seen.to_owned() };
        path = seen.join(link).join(below.as_path());
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn resolve_tells_a_silent_dns_from_an_unknown_name() {
        let limit = Duration::from_secs(1);
        assert_eq!(resolve(std::future::pending(), limit).await, Err(ConnectError::DnsTimeout));
        let nothing = resolve(std::future::ready(Ok(Vec::new())), limit).await;
        assert_eq!(nothing, Err(ConnectError::UnknownHost("the name has no addresses".into())));
        let unknown = resolve(std::future::ready(Err(io::Error::other("no such host"))), limit).await;
        assert_eq!(unknown, Err(ConnectError::UnknownHost("no such host".into())));
    }
}
