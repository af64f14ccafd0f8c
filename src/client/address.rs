//! Addresses of a broker, as a client's user writes them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::address::DEFAULT_TCP;

/// Address of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Host and port, in plaintext.
    Plain(String),
    /// Host and port, over TLS.
    Tls(String),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

/// Addresses in the order to try them; written with commas between them. An empty text names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses(pub(super) Vec<Address>);

/// Error of a text that is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a broker address; use http://HOST:PORT, https://HOST:PORT or unix:/ABSOLUTE/PATH")]
pub struct AddressError(String);

impl AddressError {
    pub(super) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Address {
    /// Returns the URI of requests. Over a Unix socket its host has no meaning.
    pub(crate) fn uri(&self) -> String {
        match self {
            Self::Plain(authority) => format!("http://{authority}"),
            Self::Tls(authority) => format!("https://{authority}"),
            Self::Unix(_) => "http://localhost".to_owned(),
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Returns whether it is a Unix socket.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// Returns whether the network can read the traffic.
    pub(crate) fn is_plaintext(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

/// Accepts every form whose meaning is clear: `grpc://` and `grpcs://` because `serve` prints them, an absolute path as a Unix socket,
/// and a host without a port, which means the default port.
impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError::of(text);
        let text = text.trim();
        let socket = ["unix://", "unix:"].iter().find_map(|scheme| text.strip_prefix(scheme));
        if let Some(path) = socket.or_else(|| text.starts_with('/').then_some(text)) {
            return Path::new(path).is_absolute().then(|| Self::Unix(path.into())).ok_or_else(error);
        }
        let (scheme, authority) = text.split_once("://").unwrap_or(("http", text));
        let authority = with_port(authority.trim_end_matches('/')).ok_or_else(error)?;
        match scheme {
            "http" | "grpc" | "tcp" => Ok(Self::Plain(authority)),
            "https" | "grpcs" => Ok(Self::Tls(authority)),
            _ => Err(error()),
        }
    }
}

/// Returns a host with its port, by default that of a broker; none if the text is more than a host and a port.
fn with_port(authority: &str) -> Option<String> {
    let parsed: http::uri::Authority = authority.parse().ok()?;
    let is_host = !parsed.host().is_empty() && !authority.contains('@');
    match parsed.port_u16() {
        _ if !is_host => None,
        Some(_) => Some(authority.to_owned()),
        // A port that is not a number.
        None if authority.len() > parsed.host().len() => None,
        None => Some(format!("{authority}:{}", DEFAULT_TCP.port())),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Plain(_) | Self::Tls(_) => f.write_str(&self.uri()),
        }
    }
}

impl FromStr for Addresses {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let texts = text.split(',').filter(|text| !text.trim().is_empty());
        texts.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_parsed_in_every_printed_and_usual_form() {
        for (text, expected) in [
            ("http://127.0.0.1:50051", Some(Address::Plain("127.0.0.1:50051".into()))),
            ("grpc://127.0.0.1:50051", Some(Address::Plain("127.0.0.1:50051".into()))),
            ("127.0.0.1:50051", Some(Address::Plain("127.0.0.1:50051".into()))),
            ("http://[::1]:50051/", Some(Address::Plain("[::1]:50051".into()))),
            ("https://broker.example:443", Some(Address::Tls("broker.example:443".into()))),
            ("grpcs://broker.example:443", Some(Address::Tls("broker.example:443".into()))),
            ("unix:/run/b.sock", Some(Address::Unix("/run/b.sock".into()))),
            ("unix:///run/b.sock", Some(Address::Unix("/run/b.sock".into()))),
            ("tcp://127.0.0.1:50051", Some(Address::Plain("127.0.0.1:50051".into()))),
            ("/run/b.sock", Some(Address::Unix("/run/b.sock".into()))),
            ("http://127.0.0.1", Some(Address::Plain("127.0.0.1:50051".into()))),
            ("https://broker.example/", Some(Address::Tls("broker.example:50051".into()))),
            ("http://[::1]", Some(Address::Plain("[::1]:50051".into()))),
            ("localhost", Some(Address::Plain("localhost:50051".into()))),
            ("unix:b.sock", None),
            ("b.sock/x", None),
            ("http://host:", None),
            ("http://host:port", None),
            ("http://:1", None),
            ("http://host:1/path", None),
            ("ftp://host:1", None),
            ("http://user@host:1", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}
