//! Authentication on TCP, by a client certificate or by loopback.

use std::net::IpAddr;
use std::sync::Arc;

use super::peer::Peer;
use super::tls::{Tls, VerifiedCertificate};
use crate::caller::Caller;

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

impl TcpAuthn {
    /// Returns the peer at an address. A certificate takes precedence over loopback.
    pub(crate) fn peer(&self, address: IpAddr, certificate: Option<VerifiedCertificate>) -> Peer {
        match certificate {
            Some(certificate) => Peer::Certified(Arc::new(certificate)),
            None if self.loopback && address.is_loopback() => Peer::Known(Caller::Loopback),
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
