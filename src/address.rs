//! Listen addresses, and the default addresses of broker and client.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Bytes of a Unix socket's path. The kernel's structure holds 108, one of them the terminator.
const MAX_SOCKET_PATH: usize = 107;
/// Bytes of its directory. The listener makes the socket in a private subdirectory, whose path takes ten bytes more.
const MAX_SOCKET_DIRECTORY: usize = MAX_SOCKET_PATH - 10;

/// Default socket of a broker that runs as a system service.
const SYSTEM_SOCKET: &str = "/run/ecr-broker/broker.sock";
/// Default socket of a user's own broker, below `$XDG_RUNTIME_DIR`.
const USER_SOCKET: &str = "ecr-broker/broker.sock";
/// Default TCP address of a broker: clients try it last, `serve --simulate` listens on it.
pub const DEFAULT_TCP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50051);

/// Returns the default sockets in the order that broker and client try them; `runtime_dir` is `$XDG_RUNTIME_DIR`.
#[must_use]
pub fn default_sockets(runtime_dir: Option<&Path>) -> Vec<PathBuf> {
    let user = runtime_dir.map(|directory| directory.join(USER_SOCKET));
    std::iter::once(PathBuf::from(SYSTEM_SOCKET)).chain(user).collect()
}

/// An address to listen on: `unix:/path` or `IP:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenAddress {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A text that is not a listen address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a listen address; use IP:PORT, or unix:/PATH of at most {MAX_SOCKET_PATH} bytes, {MAX_SOCKET_DIRECTORY} \
     in its directory"
)]
pub struct ListenAddressError {
    text: String,
}

impl ListenAddress {
    /// Returns whether only processes of this host can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

/// Accepts addresses with and without `tcp://`, `http://`, `grpc://` and `unix:`, because all of them are common.
impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, ListenAddressError> {
        let error = || ListenAddressError { text: text.to_owned() };
        let socket = ["unix://", "unix:"].iter().find_map(|scheme| text.strip_prefix(scheme));
        if let Some(path) = socket.or_else(|| text.starts_with('/').then_some(text)) {
            let fits = Path::new(path).is_absolute() && !path.contains('\0') && fits_the_kernel(path);
            return fits.then(|| Self::Unix(path.into())).ok_or_else(error);
        }
        let address =
            ["tcp://", "http://", "grpc://"].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
        let address = address.replace("localhost:", "127.0.0.1:");
        address.parse().map(Self::Tcp).map_err(|_| error())
    }
}

fn fits_the_kernel(path: &str) -> bool {
    let directory = Path::new(path).parent().map_or(0, |directory| directory.as_os_str().len());
    path.len() <= MAX_SOCKET_PATH && directory <= MAX_SOCKET_DIRECTORY
}

/// Writes the address as clients accept it.
impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "grpc://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_common_form_of_an_address_parses() {
        let tcp = ListenAddress::Tcp(([127, 0, 0, 1], 50051).into());
        let unix = ListenAddress::Unix("/run/b.sock".into());
        for (text, expected) in [
            ("127.0.0.1:50051", Some(&tcp)),
            ("localhost:50051", Some(&tcp)),
            ("tcp://127.0.0.1:50051", Some(&tcp)),
            ("grpc://127.0.0.1:50051", Some(&tcp)),
            ("unix:/run/b.sock", Some(&unix)),
            ("unix:///run/b.sock", Some(&unix)),
            ("/run/b.sock", Some(&unix)),
            ("unix:run/b.sock", None),
            ("127.0.0.1", None),
            (":50051", None),
            ("example.com:50051", None),
            ("", None),
            (&format!("unix:/{}", "x".repeat(107)), None),
        ] {
            assert_eq!(text.parse().ok().as_ref(), expected, "{text}");
        }
        assert_eq!(unix.to_string().parse(), Ok(unix));
        assert_eq!(tcp.to_string().parse(), Ok(tcp));
    }

    #[test]
    fn mapped_loopback_is_local_and_a_wildcard_is_not() {
        for (text, local) in
            [("[::1]:1", true), ("[::ffff:127.0.0.1]:1", true), ("0.0.0.0:1", false), ("[::]:1", false)]
        {
            assert_eq!(text.parse::<ListenAddress>().expect("an address").is_local(), local, "{text}");
        }
    }
}
