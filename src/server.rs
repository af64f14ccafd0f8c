//! Listeners, connections and graceful shutdown.
//!
//! tonic's own server has no connection limit, keeps silent connections for ever and drains without end. So this module accepts
//! and ends connections itself, over hyper, and serves tonic's services on them.
//!
//! An `Endpoint` is a listener with the `Protocol` of its connections. One loop accepts, counts, ages and ends the
//! connections of every endpoint; a protocol serves one connection and decides nothing else. A further listener is one new
//! implementation of `Protocol` and one more `Endpoint` in `app/endpoints.rs`.

mod connection_limits;
mod endpoint;
mod endpoints;
mod first_bytes;
mod gate;
mod grpc_service;
mod health;
mod http1;
mod http2;
mod lifetime;
mod lingering_close;
mod listener;
mod loop_guard;
mod misbehaviour;
mod places;
mod protocol;
mod proxy_protocol;
mod settings;
mod shutdown;
mod socket_activation;
#[cfg(test)]
mod test_protocol;
mod tls_handshake;
mod when_woken;

pub use self::grpc_service::GrpcService;
pub use self::settings::Settings;
pub use self::socket_activation::ActivatedSockets;

pub(crate) use self::endpoint::{Drain, Endpoint};
pub(crate) use self::endpoints::{Connections, MAX_OBSERVERS_OPEN, Server};
pub(crate) use self::grpc_service::grpc_service;
pub(crate) use self::health::Health;
pub(crate) use self::http1::{EcrApiProtocol, JsonProtocol, OpsProtocol};
pub(crate) use self::http2::GrpcProtocol;
pub(crate) use self::listener::Listener;
pub use self::listener::{SocketAccess, check_socket_directory};
pub(crate) use self::loop_guard::refuse_loop;
pub(crate) use self::shutdown::{FINAL_FLUSH, ShutdownStages};
pub(crate) use self::tls_handshake::TlsHandshake;
