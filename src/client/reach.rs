//! Trying one address, and saying at which point it fails: for whoever wants to know more than that no broker answers.

use std::error::Error;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::failure::chain;
use super::tls_problem::causes;
use super::{Address, CONNECT_TIMEOUT, Client, Link, Settings, TlsProblem, endpoint};

/// HTTP/2's first words, and settings that change nothing.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// As much of an answer as tells who is there: a frame's length and kind.
const HEAD: usize = 4;
/// The kind of frame that a server begins with.
const SETTINGS_FRAME: u8 = 4;
/// How a TLS server's complaint begins.
const TLS_ALERT: u8 = 0x15;

/// Why there is no connection to an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreached {
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
    /// Nothing came back in time.
    #[error("no answer in time")]
    NoAnswer,
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
    /// Connects to one address of whichever the settings have; their time begins with this.
    ///
    /// # Errors
    /// Where that does not work, and at which point.
    pub async fn reach(settings: &'a Settings, address: &Address) -> Result<Self, Unreached> {
        let in_time = Instant::now() + CONNECT_TIMEOUT.min(settings.timeout);
        let connected = timeout_at(in_time, connect(settings, address)).await;
        let link = connected.map_err(|_| Unreached::NoAnswer)??;
        Ok(Self { settings, link, deadline: Instant::now() + settings.timeout })
    }

    /// Where it is connected to.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.link.address
    }
}

async fn connect(settings: &Settings, address: &Address) -> Result<Link, Unreached> {
    match address {
        Address::Plain(authority) => greet(authority).await?,
        Address::Tls(authority) => resolve(authority).await?,
        Address::Unix(_) => {}
    }
    let endpoint = endpoint(address, settings).map_err(Unreached::Other)?;
    match endpoint.connect().await {
        Ok(channel) => Ok(Link { channel, address: address.clone() }),
        Err(error) => Err(in_the_clear(why(&error, address), address).await),
    }
}

/// A server that waits for plaintext may answer TLS by just going away.
async fn in_the_clear(problem: Unreached, address: &Address) -> Unreached {
    match (&problem, address) {
        (Unreached::Other(_), Address::Tls(authority)) if greet(authority).await.is_ok() => {
            Unreached::Tls(TlsProblem::NotSpoken)
        }
        _ => problem,
    }
}

async fn resolve(authority: &str) -> Result<(), Unreached> {
    let resolved = lookup_host(authority).await.map_err(|error| Unreached::UnknownName(error.to_string()))?;
    let nothing = || Unreached::UnknownName("it has no addresses".to_owned());
    resolved.into_iter().next().map(|_| ()).ok_or_else(nothing)
}

/// A channel in the clear is made before a word is said; this finds out who is there.
async fn greet(authority: &str) -> Result<(), Unreached> {
    resolve(authority).await?;
    let mut stream = TcpStream::connect(authority).await.map_err(|error| of_io(&error, None))?;
    let mut head = [0; HEAD];
    let answer = async {
        stream.write_all(GREETING).await?;
        stream.read_exact(&mut head).await
    };
    match (answer.await, head) {
        (Ok(_), [TLS_ALERT, ..]) => Err(Unreached::TlsOnly),
        (Ok(_), [.., SETTINGS_FRAME]) => Ok(()),
        _ => Err(Unreached::NotGrpc),
    }
}

fn why(error: &(dyn Error + 'static), address: &Address) -> Unreached {
    if let Some(problem) = TlsProblem::of(error) {
        return Unreached::Tls(problem);
    }
    let path = if let Address::Unix(path) = address { Some(path.as_path()) } else { None };
    let io = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>());
    io.map_or_else(|| Unreached::Other(chain(error)), |error| of_io(error, path))
}

fn of_io(error: &io::Error, path: Option<&Path>) -> Unreached {
    match (error.kind(), path) {
        (io::ErrorKind::ConnectionRefused, Some(path)) if !is_socket(path) => {
            Unreached::Other("it is no socket".to_owned())
        }
        (io::ErrorKind::ConnectionRefused, _) => Unreached::Refused,
        (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, Some(_)) => Unreached::Missing,
        (io::ErrorKind::PermissionDenied, Some(path)) => Unreached::Closed { by: closed(path) },
        _ => Unreached::Other(error.to_string()),
    }
}

fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// What is in the way: of what can be seen, that which is nearest to the socket.
fn closed(path: &Path) -> PathBuf {
    path.ancestors().find(|one| std::fs::metadata(one).is_ok()).unwrap_or(path).to_owned()
}
