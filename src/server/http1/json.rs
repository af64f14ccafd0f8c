//! The JSON API on HTTP/1.1: over a Unix socket, TCP or TLS.

use futures_util::future::BoxFuture;
use http::Request;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tracing::debug;

use super::connection;
use super::late_body::LateBody;
use crate::api::json::JsonApi;
use crate::authn::tls::Application;
use crate::authn::{Peer, TcpAuthn, TcpPeer, UnixPeer};
use crate::limits::{ConnectionMemory, Limits, Origin, UnprovedCall};
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
    /// Limits of failed TLS handshakes, and of the memory of TLS and of requests.
    pub(crate) limits: Limits,
    /// Records rejected certificates.
    pub(crate) rejections: RejectionRecorder,
}

impl JsonProtocol {
    async fn serve_tcp(&self, stream: TcpStream, from: TcpPeer, origin: Origin, lifetime: &Lifetime) {
        let memory = self.limits.request_memory().enter(origin);
        let Some(tls) = &self.authn.tls else {
            return self.serve_peer(stream, (self.authn.peer(from, None), origin), true, &memory, lifetime).await;
        };
        let handshake = CallerHandshake { limits: self.limits.clone(), rejections: self.rejections.clone() };
        let established = handshake.perform(tls, stream, Application::Http1, (origin, from), lifetime, &memory).await;
        if let Some((stream, certificate)) = established {
            let peer = self.authn.peer(from, certificate);
            self.serve_peer(stream, (peer, origin), true, &memory, lifetime).await;
        }
    }

    async fn serve_unix(&self, stream: UnixStream, peer: UnixPeer, lifetime: &Lifetime) {
        let memory = self.limits.request_memory().enter(peer.origin());
        self.serve_peer(stream, (peer.peer(), peer.origin()), false, &memory, lifetime).await;
    }

    async fn serve_peer(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin,
        (peer, origin): (Peer, Origin),
        needs_host: bool,
        memory: &ConnectionMemory,
        lifetime: &Lifetime,
    ) {
        let unproved = lifetime.unproved_of(&peer);
        let service = self.service.clone().for_peer(peer, origin, unproved.clone());
        let respond = |request: Request<Incoming>| {
            let service = service.clone();
            let call = unproved.as_ref().filter(|connection| !connection.is_proved());
            let call = call.map(|connection| UnprovedCall::begin(connection, 0));
            let request = request.map(|body| LateBody::new(body, memory.clone()));
            async move {
                let response = self.api.respond(service, request, needs_host).await;
                drop(call);
                response
            }
        };
        tokio::select! {
            biased;
            () = connection::serve(io, BUFFER, respond, lifetime, "JSON API") => {}
            // It shares its waker with the reads of the connection, so it must be polled after each of these.
            () = memory.closing() => debug!("connection closed: too much memory for its requests"),
        }
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
            Accepted::Unix(stream, peer) => Box::pin(self.serve_unix(stream, peer, lifetime)),
            Accepted::Tcp(stream, peer) => Box::pin(self.serve_tcp(stream, peer, origin, lifetime)),
        }
    }
}
