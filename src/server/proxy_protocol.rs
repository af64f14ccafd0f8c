//! PROXY protocol v2: the address of the peer behind a proxy.
//!
//! The header is required from the configured networks and read from nowhere else, where it is not a valid TLS or HTTP/2 preface. Its
//! address serves limits and logs, and proves nothing: a proxied connection never counts as one of this host.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::listener::Accepted;
use crate::authn::TcpPeer;
use crate::log_throttle::LogThrottle;

/// Time for the header to arrive, as for a TLS handshake.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Length of the part before the addresses, which ends with the length of the rest.
const FIXED: usize = 16;
/// Longest rest: addresses and what load balancers add.
const MAX_REST: usize = 2 * 1024;
/// Connections whose header has not arrived. A proxy sends it at once.
const MAX_WAITING: usize = 1_024;

/// The proxies whose connections start with a header. A clone is a handle of the same.
#[derive(Debug, Clone)]
pub(super) struct Proxies(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    networks: Vec<IpNet>,
    waiting: Semaphore,
    created: Instant,
    log: LogThrottle,
}

impl Proxies {
    pub(super) fn new(networks: Vec<IpNet>) -> Self {
        let (waiting, created, log) = (Semaphore::new(MAX_WAITING), Instant::now(), LogThrottle::default());
        Self(Arc::new(Inner { networks, waiting, created, log }))
    }

    /// Returns whether a connection comes from a proxy.
    pub(super) fn include(&self, stream: &Accepted) -> bool {
        let Accepted::Tcp(_, peer) = stream else { return false };
        self.0.networks.iter().any(|network| network.contains(&peer.address))
    }

    /// Reads the header; returns the connection as one of the peer that it names. Without a valid header the connection is closed.
    pub(super) async fn accept(&self, stream: Accepted) -> Option<Accepted> {
        let Accepted::Tcp(mut stream, TcpPeer { address: proxy, .. }) = stream else { return None };
        let waiting = self.0.waiting.try_acquire();
        let read = match &waiting {
            Ok(_) => timeout(TIMEOUT, read(&mut stream)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
            Err(_) => Err(io::Error::other("too many connections without a header")),
        };
        match read {
            Ok(address) => Some(Accepted::Tcp(stream, TcpPeer { address: address.unwrap_or(proxy), is_proxied: true })),
            Err(error) => {
                if self.0.log.is_due(self.0.created.elapsed()) {
                    warn!(%error, %proxy, "connection closed: no PROXY protocol v2 header from server.proxy_protocol_from");
                }
                None
            }
        }
    }
}

/// Reads a header and nothing beyond it. Returns the source address; `None` if the connection is that of the proxy itself.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut header = vec![0; FIXED];
    stream.read_exact(&mut header).await?;
    let rest = usize::from(u16::from_be_bytes([header[FIXED - 2], header[FIXED - 1]]));
    if rest > MAX_REST {
        return Err(invalid());
    }
    header.resize(FIXED + rest, 0);
    stream.read_exact(&mut header[FIXED..]).await?;
    source(&header)
}

fn source(header: &[u8]) -> io::Result<Option<IpAddr>> {
    let config = ParseConfig { include_tlvs: false, allow_v1: false, allow_v2: true };
    let (header, _) = ProxyHeader::parse(header, config).map_err(|_| invalid())?;
    match header.proxied_address() {
        None => Ok(None),
        Some(address) if address.protocol == Protocol::Stream => Ok(Some(address.source.ip().to_canonical())),
        Some(_) => Err(invalid()),
    }
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a PROXY protocol v2 header of a TCP connection")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    /// Reads from a stream in which a TLS handshake follows.
    async fn read_from(header: &[u8]) -> io::Result<(Option<IpAddr>, usize)> {
        let bytes = [header, b"\x16\x03\x01"].concat();
        let mut stream = bytes.as_slice();
        let address = read(&mut stream).await?;
        Ok((address, stream.len()))
    }

    #[tokio::test]
    async fn header_names_the_source_and_nothing_beyond_it_is_read() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x9c, 0x40, 1, 187];
        let v6 = |address: &str| {
            let address: std::net::Ipv6Addr = address.parse().unwrap();
            [&address.octets()[..], &[0; 20]].concat()
        };
        let with_tlv = [&v4[..], &[0x04, 0, 3, 0, 0, 0]].concat();
        for (name, header, expected) in [
            ("IPv4", header(0x21, 0x11, &v4), Some("192.0.2.7")),
            ("IPv4 with a TLV", header(0x21, 0x11, &with_tlv), Some("192.0.2.7")),
            ("IPv6", header(0x21, 0x21, &v6("2001:db8::7")), Some("2001:db8::7")),
            ("IPv4 as IPv6", header(0x21, 0x21, &v6("::ffff:127.0.0.1")), Some("127.0.0.1")),
            ("LOCAL", header(0x20, 0x00, &[]), None),
            ("LOCAL with addresses", header(0x20, 0x11, &v4), None),
            ("unspecified family", header(0x21, 0x00, &[]), None),
        ] {
            let expected = expected.map(|address| address.parse().unwrap());
            assert_eq!(read_from(&header).await.unwrap(), (expected, 3), "{name}");
        }
    }

    #[tokio::test]
    async fn invalid_header_is_refused() {
        for (name, header) in [
            ("version 1", b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 443\r\n".to_vec()),
            ("version 3", header(0x31, 0x11, &[0; 12])),
            ("unknown command", header(0x22, 0x11, &[0; 12])),
            ("unknown family", header(0x21, 0x41, &[0; 12])),
            ("datagrams", header(0x21, 0x12, &[0; 12])),
            ("short addresses", header(0x21, 0x11, &[0; 11])),
            ("too long", header(0x21, 0x11, &[0; MAX_REST + 1])),
            ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaa".to_vec()),
            ("truncated", header(0x21, 0x11, &[0; 12])[..15].to_vec()),
        ] {
            assert!(read_from(&header).await.is_err(), "{name}");
        }
    }
}
