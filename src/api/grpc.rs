//! The gRPC port: the broker's service and reflection.
//!
//! A call passes [`middleware`] (request ID, span, authentication, time limit), is admitted within its caller's limits, and is
//! decoded in `decode`. The broker decides it; `encode` and `status` write the response.

use std::sync::Arc;
use std::time::Duration;

use tonic::codec::CompressionEncoding::{Deflate, Gzip};
use tonic::service::{Routes, RoutesBuilder};

use self::service::RegistryCredentials;
use crate::broker::Broker;
use crate::limits::Limits;
use crate::pb::registry_credentials_service_server::RegistryCredentialsServiceServer;
use crate::protocol::MAX_REQUEST_BYTES;

pub(crate) mod admitted;
mod anonymous;
mod call;
mod decode;
mod encode;
mod listing;
pub(crate) mod methods;
pub mod middleware;
mod record;
mod reflection;
pub(crate) mod response_admission;
mod service;
pub(crate) mod status;
pub mod trace;
mod watch;

/// Returns the broker's service, within limits, and reflection of it. A watch ends after about `watch_age`.
#[must_use]
pub fn routes(broker: Arc<Broker>, limits: Limits, watch_age: Duration) -> RoutesBuilder {
    let mut routes = Routes::builder();
    let service = RegistryCredentialsServiceServer::new(RegistryCredentials::new(broker, limits, watch_age));
    // tonic applies the limit of a message's size before and after it decompresses the message.
    let service = service.accept_compressed(Gzip).accept_compressed(Deflate);
    routes.add_service(service.max_decoding_message_size(MAX_REQUEST_BYTES));
    reflection::add_to(&mut routes);
    routes
}
