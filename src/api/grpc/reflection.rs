//! Reflection, versions v1 and v1alpha: older tools know only the latter.

use tonic::codec::CompressionEncoding::{Deflate, Gzip};
use tonic::service::RoutesBuilder;
use tonic_reflection::server::Builder;
use tracing::warn;

use crate::pb::FILE_DESCRIPTOR_SET;

/// Size of a request, which holds a symbol's or a file's name.
///
/// A response repeats its request, and the service reads more requests while responses wait to be sent.
const MAX_REQUEST: usize = 1024;

pub(super) fn add_to(routes: &mut RoutesBuilder) {
    match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => {
            let v1 = v1.accept_compressed(Gzip).accept_compressed(Deflate);
            let v1alpha = v1alpha.accept_compressed(Gzip).accept_compressed(Deflate);
            routes.add_service(v1.max_decoding_message_size(MAX_REQUEST));
            routes.add_service(v1alpha.max_decoding_message_size(MAX_REQUEST));
        }
        (Err(error), _) | (_, Err(error)) => warn!(%error, "reflection unavailable"),
    }
}

fn builder<'a>() -> Builder<'a> {
    Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
