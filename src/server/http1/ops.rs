//! The ops listener on HTTP/1.1: over a Unix socket, TCP or TLS.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::Request;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::connection;
use crate::authn::TcpPeer;
use crate::authn::tls::{Application, Tls};
use crate::limits::{Origin, UnprovedCall};
use crate::ops::{Ops, OpsPeer};
use crate::server::lifetime::Lifetime;
use crate::server::listener::Accepted;
use crate::server::protocol::Protocol;
use crate::server::tls_handshake::{TlsHandshake, TlsMemory};

/// Memory for a request. Probes and Prometheus send a few hundred bytes.
const BUFFER: usize = 16 * 1024;

/// Serves the ops pages on every connection.
#[derive(Debug)]
pub(crate) struct OpsProtocol {
    /// The pages.
    pub(crate) ops: Ops,
    /// TLS of the listener; `None` for plaintext.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Handshakes, and the record of rejected certificates.
    pub(crate) handshake: TlsHandshake,
    /// Whether only processes of this host reach the listener.
    pub(crate) is_local: bool,
}

impl OpsProtocol {
    async fn serve_tcp(&self, stream: TcpStream, from: TcpPeer, lifetime: &Lifetime) {
        let peer = |certificate| if self.is_local { OpsPeer::Loopback } else { OpsPeer::Remote(certificate) };
        let Some(tls) = &self.tls else {
            return self.serve_io(stream, &peer(None), lifetime).await;
        };
        // Failed handshakes do not count against the origin: it could be that of the probes, too.
        let memory = TlsMemory { unproved: lifetime.unproved().cloned(), proved: None };
        match self.handshake.perform(tls, stream, Application::Http1, from.address, lifetime, memory).await {
            Ok((stream, certificate)) => self.serve_io(stream, &peer(certificate.map(Arc::new)), lifetime).await,
            Err(failed) => failed.answer().await,
        }
    }

    async fn serve_io(&self, io: impl AsyncRead + AsyncWrite + Unpin, peer: &OpsPeer, lifetime: &Lifetime) {
        let respond = |request: Request<Incoming>| async move {
            let call = lifetime.unproved().map(|connection| {
                connection.note_served();
                UnprovedCall::begin(connection, 0)
            });
            let response = self.ops.respond(&request, peer).await;
            drop(call);
            response
        };
        connection::serve(io, BUFFER, respond, lifetime, "ops").await;
    }
}

impl Protocol for OpsProtocol {
    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "ops+https" } else { "ops+http" }
    }

    fn unix_scheme(&self) -> &'static str {
        "ops+unix"
    }

    fn loop_fix(&self) -> &'static str {
        "point it at AWS, or choose another server.ops_listen"
    }

    fn serve<'a>(&'a self, stream: Accepted, _: Origin, lifetime: &'a Lifetime) -> BoxFuture<'a, ()> {
        match stream {
            Accepted::Unix(stream, _) => {
                Box::pin(async move { self.serve_io(stream, &OpsPeer::UnixSocket, lifetime).await })
            }
            Accepted::Tcp(stream, peer) => Box::pin(self.serve_tcp(stream, peer, lifetime)),
        }
    }
}
