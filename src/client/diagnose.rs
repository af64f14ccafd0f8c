//! Connects to one address and reports the step that fails: name resolution, TCP, plaintext HTTP/2 or TLS.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};
use tonic::transport::Channel;

use super::address::Address;
use super::connection::{endpoint, issued_identity};
use super::connector;
use super::error_chain::{causes, error_chain};
use super::foreign_listener::ForeignListener;
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
/// Time limit for a second look at a TLS failure.
const RECHECK_LIMIT: Duration = Duration::from_secs(1);
/// Limit of symbolic links to follow on the path to a socket; it stops at a circle of links.
const MAX_LINKS: usize = 8;

/// Failure to connect to an address.
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
    /// A socket on which a program of another user listens than the owner of its directory.
    #[error("{0}")]
    ForeignListener(String),
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
    /// A listener that closes each connection without an answer.
    #[error("it closes the connection without an answer")]
    Closed,
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

/// Connects to an address. All steps share the time limit, and the error names the step that was in progress at its end.
///
/// Nothing is repeated: a diagnosis reports what it finds.
pub(super) async fn connect(settings: &Settings, address: &Address, limit: Duration) -> Result<Channel, ConnectError> {
    let end = Instant::now() + limit;
    let hosts = match address {
        Address::Plain(authority) | Address::Tls(authority) => resolve(connector::resolve(authority), end).await?,
        Address::Unix(_) => Vec::new(),
    };
    if matches!(address, Address::Plain(_)) {
        probe_http2(&hosts, end).await?;
    }
    let identity = timeout_at(end, issued_identity(settings)).await.map_err(|_| ConnectError::ConnectTimeout)?;
    let endpoint = endpoint(address, settings, identity.map_err(ConnectError::Other)?).map_err(ConnectError::Other)?;
    match timeout_at(end, connector::open(&endpoint, address.clone())).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) if address.is_tls() => Err(recheck_plaintext(classify(&error, address), &hosts).await),
        Ok(Err(error)) => Err(classify(&error, address)),
        Err(_) => Err(ConnectError::ConnectTimeout),
    }
}

/// Replaces an unspecific TLS failure if the server speaks plaintext HTTP/2: such a server may just close the connection.
async fn recheck_plaintext(problem: ConnectError, hosts: &[SocketAddr]) -> ConnectError {
    match problem {
        ConnectError::Other(_) | ConnectError::Tls(TlsProblem::HandshakeCut)
            if probe_http2(hosts, Instant::now() + RECHECK_LIMIT).await.is_ok() =>
        {
            ConnectError::Tls(TlsProblem::NotTls)
        }
        _ => problem,
    }
}

async fn resolve(
    lookup: impl Future<Output = io::Result<Vec<SocketAddr>>>,
    end: Instant,
) -> Result<Vec<SocketAddr>, ConnectError> {
    match timeout_at(end, lookup).await {
        Ok(resolved) => resolved.map_err(|error| ConnectError::UnknownHost(error.to_string())),
        Err(_) => Err(ConnectError::DnsTimeout),
    }
}

/// Checks that a plaintext listener answers the HTTP/2 preface.
///
/// tonic opens a plaintext channel without waiting for an answer, so only this finds another protocol or a silent listener.
async fn probe_http2(hosts: &[SocketAddr], end: Instant) -> Result<(), ConnectError> {
    let connected = timeout_at(end, connector::race(hosts.to_vec(), connector::dial)).await;
    let mut stream = connected.map_err(|_| ConnectError::ConnectTimeout)?.map_err(|error| classify_io(&error, None))?;
    let mut head = [0; FRAME_HEAD];
    let answer = async {
        stream.write_all(CLIENT_PREFACE).await?;
        stream.read_exact(&mut head).await
    };
    match (timeout_at(end, answer).await, head) {
        (Err(_), _) => Err(ConnectError::Silent),
        (Ok(Ok(_)), [TLS_ALERT, ..]) => Err(ConnectError::TlsOnly),
        (Ok(Ok(_)), [.., SETTINGS_FRAME]) => Ok(()),
        (Ok(Err(_)), [0, 0, 0, 0]) => Err(ConnectError::Closed),
        _ => Err(ConnectError::NotGrpc),
    }
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
    if ForeignListener::is_cause(error) {
        return ConnectError::ForeignListener(error.to_string());
    }
    match (error.kind(), path) {
        (io::ErrorKind::ConnectionRefused, _) => ConnectError::Refused,
        (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, Some(_)) => ConnectError::SocketMissing,
        (io::ErrorKind::PermissionDenied, Some(path)) => ConnectError::PermissionDenied { by: denied_by(path) },
        _ => ConnectError::Other(error.to_string()),
    }
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
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn resolve_tells_a_silent_dns_from_an_unknown_name() {
        let end = Instant::now() + Duration::from_secs(1);
        assert_eq!(resolve(std::future::pending(), end).await, Err(ConnectError::DnsTimeout));
        let unknown = resolve(std::future::ready(Err(io::Error::other("no such host"))), end).await;
        assert_eq!(unknown, Err(ConnectError::UnknownHost("no such host".into())));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_dns_within_the_limit_is_not_a_failure() {
        let slow = async {
            sleep(Duration::from_millis(1_200)).await;
            Ok(vec![([192, 0, 2, 1], 1).into()])
        };
        assert!(resolve(slow, Instant::now() + Duration::from_secs(5)).await.is_ok());
    }
}
