//! The gRPC services as connections call them: routes and health, behind the drain and the middleware.

use tonic::service::{Routes, RoutesBuilder};
use tonic_health::pb::health_server::{self, HealthServer};
use tower::Layer as _;

use super::http2::drain_streams::{DrainStreams, DrainedStreams};
use super::shutdown::ShutdownStages;
use crate::api::grpc::middleware::{Middleware, MiddlewareService};

/// The gRPC services; a connection calls a clone made for its peer.
pub type GrpcService = MiddlewareService<DrainedStreams<Routes>>;

/// Puts the services together. Their endless streams end when `shutdown` starts to drain.
pub(crate) fn grpc_service(
    mut routes: RoutesBuilder,
    health: HealthServer<impl health_server::Health>,
    middleware: &Middleware,
    shutdown: &ShutdownStages,
) -> GrpcService {
    routes.add_service(health);
    let drained = DrainStreams::new(shutdown.drain.clone()).layer(routes.routes().prepare());
    middleware.layer(drained)
}
