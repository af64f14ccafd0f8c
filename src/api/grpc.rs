//! The gRPC port: the broker's service and reflection.
//!
//! A call passes [`middleware`] (request ID, span, authentication, time limit), is admitted within its caller's limits, and is
//! decoded in `decode`. The broker decides it; `encode` and `status` write the response.

use std::sync::Arc;
use std::time::Duration;

use tonic::codec::CompressionEncoding::{Deflate, Gzip};
use tonic::service::{Routes, RoutesBuilder};

use self::operator::Operator;
use self::service::RegistryCredentials;
use crate::broker::Broker;
use crate::limits::Limits;
use crate::pb::operator_service_server::OperatorServiceServer;
use crate::pb::registry_credentials_service_server::RegistryCredentialsServiceServer;
use crate::protocol::MAX_REQUEST_BYTES;
use crate::status::StatusReporter;

pub(crate) mod admitted;
mod anonymous;
mod call;
mod decode;
mod encode;
pub(crate) mod fast_path;
mod forwarded;
mod listing;
pub(crate) mod methods;
mod metrics;
pub mod middleware;
mod operator;
mod record;
mod reflection;
pub(crate) mod response_admission;
mod service;
pub(crate) mod status;
mod trace;
mod watch;

/// Returns the broker's services, within limits, and reflection of them. A watch ends after about `watch_age`.
#[must_use]
pub fn routes(broker: Arc<Broker>, limits: Limits, reporter: StatusReporter, watch_age: Duration) -> RoutesBuilder {
    let mut routes = Routes::builder();
    let operator = Operator { limits: limits.clone(), reporter };
    let operator = OperatorServiceServer::new(operator).accept_compressed(Gzip).accept_compressed(Deflate);
    routes.add_service(operator.max_decoding_message_size(MAX_REQUEST_BYTES));
    let service = RegistryCredentialsServiceServer::new(RegistryCredentials::new(broker, limits, watch_age));
    // tonic applies the limit of a message's size before and after it decompresses the message.
    let service = service.accept_compressed(Gzip).accept_compressed(Deflate);
    routes.add_service(service.max_decoding_message_size(MAX_REQUEST_BYTES));
    reflection::add_to(&mut routes);
    routes
}
