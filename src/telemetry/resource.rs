//! The resource: what spans and metrics are about.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

/// Returns the resource of the environment, with the version of the broker, and its name unless the environment names the service.
pub(super) fn resource(names_service: bool) -> Resource {
    let resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if names_service { resource } else { resource.with_service_name("ecr-broker") }.build()
}
