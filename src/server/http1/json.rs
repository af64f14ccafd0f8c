//! The JSON API on HTTP/1.1: over a Unix socket, TCP or TLS.

use futures_util::future::BoxFuture;
use http::Request;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::connection;
use crate::api::json::JsonApi;
use crate::authn::tls::Application;
use crate::authn::{Peer, TcpAuthn, TcpPeer};
use crate::limits::{Limits, Origin, UnprovedCall};
use crate::rejections::RejectionRecorder;
use crate::server::grpc_service::GrpcService;
use crate::server::lifetime::Lifetime;
use crate::server::listener::Accepted;
use crate::server::protocol::Protocol;
use crate::server::tls_handshake::CallerHandshake;

/// Memory for a request. A bearer token of at most 8 KiB is one of its headers.
const BUFFER: usize = 16 * 1024;

/// Serves the JSON API on every connection.
#[derive(Debug)]
pub(crate) struct JsonProtocol {
    /// The API.
    pub(crate) api: JsonApi,
    /// The services that it calls.
    pub(crate) service: GrpcService,
    /// Authentication on TCP.
    pub(crate) authn: TcpAuthn,
    /// Limits of failed TLS handshakes, and of the memory of TLS.
    pub(crate) limits: Limits,
    /// Records rejected certificates.
    pub(crate) rejections: RejectionRecorder,
}

impl JsonProtocol {
    async fn serve_tcp(&self, stream: TcpStream, from: TcpPeer, origin: Origin, lifetime: &Lifetime) {
        let Some(tls) = &self.authn.tls else {
            return self.serve_peer(stream, (self.authn.peer(from, None), origin), true, lifetime).await;
        };
        let handshake = CallerHandshake { limits: self.limits.clone(), rejections: self.rejections.clone() };
        let memory = self.limits.request_memory().enter(origin);
        let established = handshake.perform(tls, stream, Application::Http1, (origin, from), lifetime, &memory).await;
        if let Some((stream, certificate)) = established {
            let peer = self.authn.peer(from, certificate);
            self.serve_peer(stream, (peer, origin), true, lifetime).await;
        }
    }

    async fn serve_peer(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin,
        (peer, origin): (Peer, Origin),
        needs_host: bool,
        lifetime: &Lifetime,
    ) {
        let unproved = lifetime.unproved_of(&peer);
        let service = self.service.clone().for_peer(peer, origin, unproved.clone());
        let respond = |request: Request<Incoming>| {
            let service = service.clone();
            let call = unproved.as_ref().filter(|connection| !connection.is_proved());
            let call = call.map(|connection| UnprovedCall::begin(connection, 0));
            async move {
                let response = self.api.respond(service, request, needs_host).await;
                drop(call);
                response
            }
        };
        connection::serve(io, BUFFER, respond, lifetime, "JSON API").await;
    }
}

impl Protocol for JsonProtocol {
    fn scheme(&self) -> &'static str {
        if self.authn.tls.is_some() { "json+https" } else { "json+http" }
    }

    fn unix_scheme(&self) -> &'static str {
        "json+unix"
    }

    fn loop_fix(&self) -> &'static str {
        "point it at AWS or another broker, or choose another server.json_listen"
    }

    fn serve<'a>(&'a self, stream: Accepted, origin: Origin, lifetime: &'a Lifetime) -> BoxFuture<'a, ()> {
        match stream {
            Accepted::Unix(stream, peer) => {
                Box::pin(self.serve_peer(stream, (peer.peer(), peer.origin()), false, lifetime))
            }
            Accepted::Tcp(stream, peer) => Box::pin(self.serve_tcp(stream, peer, origin, lifetime)),
        }
    }
}
