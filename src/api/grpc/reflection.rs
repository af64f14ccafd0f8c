//! Reflection, of the version that tools speak now and of the one that they spoke before.

use tonic::service::RoutesBuilder;
use tonic_reflection::server::Builder;
use tracing::warn;

use crate::pb::FILE_DESCRIPTOR_SET;

/// A symbol's or a file's name. An answer repeats all of the question, and the service reads on while answers are waiting.
const LARGEST_QUESTION: usize = 1024;

pub(super) fn add_to(routes: &mut RoutesBuilder) {
    match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => {
            routes.add_service(v1.max_decoding_message_size(LARGEST_QUESTION));
            routes.add_service(v1alpha.max_decoding_message_size(LARGEST_QUESTION));
        }
        (Err(error), _) | (_, Err(error)) => warn!(%error, "reflection is not served"),
    }
}

fn builder<'a>() -> Builder<'a> {
    Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
