//! Authentication on TCP, by a client certificate or by loopback.

use std::net::IpAddr;
use std::sync::Arc;

use super::peer::Peer;
use super::tls::{Tls, VerifiedCertificate};
use crate::caller::Caller;

/// The other end of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TcpPeer {
    /// The address, as the connection or a trusted proxy names it.
    pub(crate) address: IpAddr,
    /// Whether a proxy forwards the connection. Then the address proves nothing.
    pub(crate) is_proxied: bool,
}

/// The ways in which TCP listeners authenticate peers.
#[derive(Debug, Clone)]
pub(crate) struct TcpAuthn {
    /// TLS of the listeners; `None` for plaintext.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Whether a peer on loopback needs no proof.
    pub(crate) loopback: bool,
    /// Whether calls may carry bearer tokens.
    pub(crate) tokens: bool,
}

impl TcpPeer {
    /// Returns whether a process of this host made the connection.
    fn is_loopback(self) -> bool {
        self.address.is_loopback() && !self.is_proxied
    }
}

impl TcpAuthn {
    /// Returns the identity of a peer. A certificate takes precedence over loopback.
    pub(crate) fn peer(&self, peer: TcpPeer, certificate: Option<VerifiedCertificate>) -> Peer {
        match certificate {
            Some(certificate) => Peer::Certified(Arc::new(certificate)),
            None if self.loopback && peer.is_loopback() => Peer::Known(Caller::Loopback),
            None => Peer::Unknown(self.advice()),
        }
    }

    /// Returns the advice for an unauthenticated peer.
    fn advice(&self) -> &'static str {
        if self.tokens {
            "send a bearer token of a configured issuer (authorization: Bearer …), or present a client certificate"
        } else if self.tls.is_some() {
            "present a client certificate that a root in the broker's configuration signed"
        } else {
            "this listener does not authenticate callers of other hosts; use the broker's Unix socket"
        }
    }
}
