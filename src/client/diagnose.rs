//! Trying one address, and saying at which point it fails: for whoever wants to know more than that no broker answers.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::failure::chain;
use super::tls_problem::causes;
use super::{Address, CONNECT_TIMEOUT, Client, Link, Settings, TlsProblem, endpoint, patience};

/// HTTP/2's first words, and settings that change nothing.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// As much of an answer as tells who is there: a frame's length and kind.
const HEAD: usize = 4;
/// The kind of frame that a server begins with.
const SETTINGS_FRAME: u8 = 4;
/// How a TLS server's complaint begins.
const TLS_ALERT: u8 = 0x15;
/// More links than anybody has on the way to a socket.
const MOST_LINKS: usize = 8;

/// Why there is no connection to an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// There is no such socket.
    #[error("there is no such socket")]
    Missing,
    /// This user may not open the socket, or not look into a directory on the way to it.
    #[error("permission denied by {}", by.display())]
    Closed {
        /// The socket, or the directory.
        by: PathBuf,
    },
    /// Nobody listens there.
    #[error("nobody listens there")]
    Refused,
    /// The name is not known.
    #[error("the name cannot be resolved: {0}")]
    UnknownName(String),
    /// Nobody said in time where the name is.
    #[error("DNS does not answer in time")]
    NoDns,
    /// Nothing came back in time.
    #[error("no answer in time")]
    NoAnswer,
    /// There is a connection, and nobody speaks on it.
    #[error("it takes connections, and says nothing")]
    Silent,
    /// TLS did not come about.
    #[error("{0}")]
    Tls(TlsProblem),
    /// It speaks TLS, and was not spoken to in it.
    #[error("it speaks TLS, and the address says http")]
    TlsOnly,
    /// It speaks something else.
    #[error("what listens there does not speak gRPC")]
    NotGrpc,
    /// Anything else, on this side or on the way.
    #[error("{0}")]
    Other(String),
}

impl<'a> Client<'a> {
    /// Connects to one address of whichever the settings have; their time begins with this. Each part of it may take as long as
    /// [`Client::connect`] would wait for the whole, so that what is told is the part that is slow.
    ///
    /// # Errors
    /// Where that does not work, and at which point.
    pub async fn reach(settings: &'a Settings, address: &Address) -> Result<Self, ConnectError> {
        let link = connect(settings, address).await?;
        Ok(Self { settings, link, deadline: Instant::now() + settings.timeout })
    }

    /// Where it is connected to.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.link.address
    }
}

async fn connect(settings: &Settings, address: &Address) -> Result<Link, ConnectError> {
    let patience = patience(settings, address);
    let places = match address {
        Address::Plain(authority) | Address::Tls(authority) => resolve(lookup(authority), patience).await?,
        Address::Unix(_) => Vec::new(),
    };
    if matches!(address, Address::Plain(_)) {
        greet(&places, patience, settings.timeout).await?;
    }
    let endpoint = endpoint(address, settings).map_err(ConnectError::Other)?;
    match timeout(patience, endpoint.connect()).await {
        Ok(Ok(channel)) => Ok(Link { channel, address: address.clone() }),
        Ok(Err(error)) if address.is_tls() => Err(in_the_clear(why(&error, address), &places).await),
        Ok(Err(error)) => Err(why(&error, address)),
        Err(_) => Err(ConnectError::NoAnswer),
    }
}

/// A server that waits for plaintext may answer TLS by just going away.
async fn in_the_clear(problem: ConnectError, places: &[SocketAddr]) -> ConnectError {
    match problem {
        ConnectError::Other(_) if greet(places, CONNECT_TIMEOUT, CONNECT_TIMEOUT).await.is_ok() => {
            ConnectError::Tls(TlsProblem::NotSpoken)
        }
        _ => problem,
    }
}

async fn lookup(authority: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(lookup_host(authority).await?.collect())
}

async fn resolve(
    lookup: impl Future<Output = io::Result<Vec<SocketAddr>>>,
    patience: Duration,
) -> Result<Vec<SocketAddr>, ConnectError> {
    match timeout(patience, lookup).await {
        Ok(Ok(places)) if places.is_empty() => Err(ConnectError::UnknownName("it has no addresses".to_owned())),
        Ok(resolved) => resolved.map_err(|error| ConnectError::UnknownName(error.to_string())),
        Err(_) => Err(ConnectError::NoDns),
    }
}

/// A channel in the clear is made before a word is said; this finds out who is there. A client does not wait for the first word, but
/// for an answer, and that for as long as it waits at all.
async fn greet(places: &[SocketAddr], patience: Duration, for_a_word: Duration) -> Result<(), ConnectError> {
    let mut stream = timeout(patience, open(places)).await.map_err(|_| ConnectError::NoAnswer)??;
    let mut head = [0; HEAD];
    let answer = async {
        stream.write_all(GREETING).await?;
        stream.read_exact(&mut head).await
    };
    match (timeout(for_a_word, answer).await, head) {
        (Err(_), _) => Err(ConnectError::Silent),
        (Ok(Ok(_)), [TLS_ALERT, ..]) => Err(ConnectError::TlsOnly),
        (Ok(Ok(_)), [.., SETTINGS_FRAME]) => Ok(()),
        _ => Err(ConnectError::NotGrpc),
    }
}

/// All at once, for one of them may lead nowhere.
async fn open(places: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let mut attempts: JoinSet<_> = places.iter().copied().map(TcpStream::connect).collect();
    let mut problem = ConnectError::Refused;
    while let Some(attempt) = attempts.join_next().await {
        match attempt.map_err(io::Error::other).flatten() {
            Ok(stream) => return Ok(stream),
            Err(error) => problem = of_io(&error, None),
        }
    }
    Err(problem)
}

fn why(error: &(dyn Error + 'static), address: &Address) -> ConnectError {
    if let Some(problem) = TlsProblem::of(error) {
        return ConnectError::Tls(problem);
    }
    let path = if let Address::Unix(path) = address { Some(path.as_path()) } else { None };
    let io = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>());
    io.map_or_else(|| ConnectError::Other(chain(error)), |error| of_io(error, path))
}

fn of_io(error: &io::Error, path: Option<&Path>) -> ConnectError {
    match (error.kind(), path) {
        (io::ErrorKind::ConnectionRefused, Some(path)) if !is_socket(path) => {
            ConnectError::Other("it is no socket".to_owned())
        }
        (io::ErrorKind::ConnectionRefused, _) => ConnectError::Refused,
        (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, Some(_)) => ConnectError::Missing,
        (io::ErrorKind::PermissionDenied, Some(path)) => ConnectError::Closed { by: closed(path) },
        _ => ConnectError::Other(error.to_string()),
    }
}

fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// What is in the way: of what can be seen, that which is nearest to the socket, on the way that links lead.
fn closed(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
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
    use crate::client::{Home, PartialConfig};

    #[tokio::test(start_paused = true)]
    async fn a_resolver_that_says_nothing_is_told_from_a_broker_that_does() {
        let limit = Duration::from_secs(1);
        assert_eq!(resolve(std::future::pending(), limit).await, Err(ConnectError::NoDns));
        let nothing = resolve(std::future::ready(Ok(Vec::new())), limit).await;
        assert_eq!(nothing, Err(ConnectError::UnknownName("it has no addresses".into())));
        let unknown = resolve(std::future::ready(Err(io::Error::other("no such host"))), limit).await;
        assert_eq!(unknown, Err(ConnectError::UnknownName("no such host".into())));
    }

    #[test]
    fn no_less_is_waited_for_than_a_client_does() {
        let given = PartialConfig {
            address: Some("http://127.0.0.1:1,http://127.0.0.1:2".parse().unwrap()),
            ..PartialConfig::default()
        };
        let (settings, _) = given.settings(&Home::default()).unwrap();
        let waits: Vec<_> = settings.addresses.iter().map(|address| patience(&settings, address)).collect();
        assert_eq!(waits, [CONNECT_TIMEOUT, settings.timeout]);
        let away =
            PartialConfig { address: Some("https://broker.example:443".parse().unwrap()), ..PartialConfig::default() };
        let (settings, _) = away.settings(&Home::default()).unwrap();
        assert_eq!(patience(&settings, &settings.addresses[0]), CONNECT_TIMEOUT);
    }
}
