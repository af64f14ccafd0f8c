//! The address of an OTLP collector, and what answers there when an export fails.
//!
//! The exporter's own errors say "network error", and no more. So the first bytes that the endpoint sends tell a wrong protocol, or TLS
//! against plaintext, from a collector that is absent. Behind a proxy only the proxy can be asked.

use std::fmt::{self, Display};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use http::Uri;
use reqwest::Url;

use crate::proxy::Proxies;

/// Time limit of each step: connecting, writing and reading.
const STEP: Duration = Duration::from_secs(1);
/// The client's connection preface of HTTP/2 and an empty SETTINGS frame (RFC 9113, sections 3.4 and 6.5).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const HTTP1: &[u8] = b"GET / HTTP/1.1\r\nHost: collector\r\nConnection: close\r\n\r\n";
/// Length of the header of an HTTP/2 frame.
const FRAME_HEADER: usize = 9;

/// Where a signal is sent. Holds no user information of the URL, which may be a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Collector {
    address: Address,
    /// Whether the signal is sent over gRPC rather than HTTP.
    grpc: bool,
    /// The proxy that the environment has for the collector. gRPC does not use it.
    proxy: Option<Address>,
}

/// What is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    tls: bool,
    host: String,
    port: u16,
}

/// What the first bytes of an answer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Http1,
    Http2,
    Tls,
    Unknown,
}

impl Collector {
    pub(super) fn new(url: &Url, grpc: bool, proxies: &Proxies) -> Self {
        let proxy = url.as_str().parse().ok().and_then(|uri| Address::of(proxies.for_url(&uri)?.as_str()));
        let tls = url.scheme() == "https";
        let port = url.port_or_known_default().unwrap_or_default();
        let address = Address { tls, host: url.host_str().unwrap_or_default().to_owned(), port };
        Self { address, grpc, proxy }
    }

    /// Returns the name of the protocol, as `OTEL_EXPORTER_OTLP_PROTOCOL` has it.
    pub(super) fn protocol(&self) -> &'static str {
        if self.grpc { "grpc" } else { "http/protobuf" }
    }

    /// Returns the proxy that exports go through.
    pub(super) fn proxy(&self) -> Option<&Address> {
        self.proxy.as_ref().filter(|_| !self.grpc)
    }

    /// Connects and returns why an export fails; none if the endpoint answers in the protocol that was configured, or if a proxy is in
    /// between. Blocks for a few seconds at most, the lookup of the name aside.
    pub(super) fn diagnose(&self) -> Option<String> {
        if let Some(proxy) = self.proxy() {
            let error = proxy.connect().err()?;
            return Some(format!("cannot connect to the proxy {proxy}: {error}; correct it, or set NO_PROXY"));
        }
        let (first, second) = if self.grpc { (HTTP2, HTTP1) } else { (HTTP1, HTTP2) };
        let mut answer = match self.address.ask(first) {
            Ok(answer) => answer,
            // Only gRPC has a proxy left here.
            Err(error) if self.proxy.is_some() => {
                return Some(format!("cannot connect: {error}; exports over gRPC use no proxy, http/protobuf does"));
            }
            Err(error) => {
                return Some(format!("cannot connect: {error}; start the collector, or correct the endpoint"));
            }
        };
        if answer == Answer::Unknown {
            answer = self.address.ask(second).unwrap_or(answer);
        }
        self.mismatch(answer).map(str::to_owned)
    }

    fn mismatch(&self, answer: Answer) -> Option<&'static str> {
        match (answer, self.address.tls, self.grpc) {
            (Answer::Tls, false, _) => Some("the collector speaks TLS; use an https:// endpoint"),
            (Answer::Http1 | Answer::Http2, true, _) => {
                Some("the collector does not speak TLS; use an http:// endpoint")
            }
            (Answer::Http1, false, true) => Some(
                "the port is for OTLP over HTTP; use the gRPC port (4317), or OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            ),
            (Answer::Http2, false, false) => {
                Some("the port is for OTLP over gRPC; use the HTTP port (4318), or OTEL_EXPORTER_OTLP_PROTOCOL=grpc")
            }
            _ => None,
        }
    }
}

impl Address {
    /// Returns the address of an HTTP URL.
    fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let tls = uri.scheme_str()? == "https";
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Some(Self { tls, host: uri.host()?.to_owned(), port })
    }

    /// Sends a question in plaintext and returns what the first bytes of the answer are. Fails if it cannot connect.
    fn ask(&self, question: &[u8]) -> io::Result<Answer> {
        let mut stream = self.connect()?;
        let mut first = [0; FRAME_HEADER];
        let read = stream.write_all(question).and_then(|()| stream.read_exact(&mut first));
        Ok(if read.is_ok() { Answer::of(first) } else { Answer::Unknown })
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (host, self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, STEP) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(STEP))?;
                    stream.set_write_timeout(Some(STEP))?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl Answer {
    fn of(first: [u8; FRAME_HEADER]) -> Self {
        match first {
            [b'H', b'T', b'T', b'P', b'/', b'1', ..] => Self::Http1,
            // A SETTINGS frame of stream 0 is a server's first.
            [_, _, _, 4, _, 0, 0, 0, 0] => Self::Http2,
            // A handshake or an alert (RFC 8446, section 5.1).
            [0x15 | 0x16, 3, ..] => Self::Tls,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
