//! HTTP/2 connections: the gRPC API, over Unix sockets, TCP and TLS.

use futures_util::future::BoxFuture;
use tokio::net::{TcpStream, UnixStream};

use self::authority::AuthorityRewriter;
use self::connection::Connection;
use super::grpc_service::GrpcService;
use super::lifetime::Lifetime;
use super::listener::Accepted;
use super::misbehaviour;
use super::protocol::Protocol;
use super::tls_handshake::CallerHandshake;
use crate::authn::tls::Application;
use crate::authn::{Peer, TcpAuthn, TcpPeer, UnixPeer};
use crate::limits::{ConnectionMemory, Limits, Origin};
use crate::rejections::RejectionRecorder;

mod authority;
mod body;
mod call_memory;
mod connection;
pub(super) mod drain_streams;
mod driver;
mod first_message;
mod frame_budget;
mod frames;
mod keepalive_timer;
mod output;
mod peer_stream;
mod peer_watchdog;
mod response_body;
mod streams;
mod tracked_service;
mod turns;

/// Serves the gRPC API on every connection, after the peer is identified.
#[derive(Debug)]
pub(crate) struct GrpcProtocol {
    /// The services that connections call.
    pub(crate) service: GrpcService,
    /// Authentication on TCP.
    pub(crate) authn: TcpAuthn,
    /// Limits of failed TLS handshakes, and of the memory of requests.
    pub(crate) limits: Limits,
    /// Records rejected certificates.
    pub(crate) rejections: RejectionRecorder,
}

impl GrpcProtocol {
    async fn serve_unix(&self, stream: UnixStream, peer: UnixPeer, lifetime: &Lifetime) {
        let service = self.service.clone().for_peer(peer.peer(), peer.origin(), None);
        let rewriter = Some(AuthorityRewriter::default());
        let memory = self.limits.request_memory().enter(peer.origin());
        let problem = Box::new(Connection::new(service, rewriter, None, memory)).serve(stream, lifetime).await;
        self.record_misbehaviour(problem, peer.origin());
    }

    async fn serve_tcp(&self, stream: TcpStream, from: TcpPeer, origin: Origin, lifetime: &Lifetime) {
        let Some(tls) = &self.authn.tls else {
            let memory = self.limits.request_memory().enter(origin);
            let connection = Box::new(self.connection(self.authn.peer(from, None), origin, lifetime, memory));
            return self.record_misbehaviour(connection.serve(stream, lifetime).await, origin);
        };
        let memory = self.limits.request_memory().enter(origin);
        let handshake = CallerHandshake { limits: self.limits.clone(), rejections: self.rejections.clone() };
        // Boxed: the future would have room for it for as long as the connection lasts.
        let established =
            Box::pin(handshake.perform(tls, stream, Application::Http2, (origin, from), lifetime, &memory)).await;
        if let Some((stream, certificate)) = established {
            let connection = Box::new(self.connection(self.authn.peer(from, certificate), origin, lifetime, memory));
            self.record_misbehaviour(connection.serve(stream, lifetime).await, origin);
        }
    }

    fn record_misbehaviour(&self, problem: Option<&'static str>, origin: Origin) {
        if let Some(problem) = problem {
            misbehaviour::record(&self.rejections, problem, origin);
        }
    }

    /// Returns the connection of a TCP peer; without proof it stays unproved until a call is authenticated.
    fn connection(&self, peer: Peer, origin: Origin, lifetime: &Lifetime, memory: ConnectionMemory) -> Connection {
        let unproved = lifetime.unproved_of(&peer);
        let service = self.service.clone().for_peer(peer, origin, unproved.clone());
        Connection::new(service, None, unproved, memory)
    }
}

impl Protocol for GrpcProtocol {
    fn scheme(&self) -> &'static str {
        if self.authn.tls.is_some() { "grpcs" } else { "grpc" }
    }

    fn loop_fix(&self) -> &'static str {
        "point it at AWS or another broker, or listen elsewhere"
    }

    fn serve<'a>(&'a self, stream: Accepted, origin: Origin, lifetime: &'a Lifetime) -> BoxFuture<'a, ()> {
        match stream {
            Accepted::Unix(stream, peer) => Box::pin(self.serve_unix(stream, peer, lifetime)),
            Accepted::Tcp(stream, peer) => Box::pin(self.serve_tcp(stream, peer, origin, lifetime)),
        }
    }
}
