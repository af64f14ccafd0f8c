//! Generated protobuf and gRPC types of `proto/`.

use std::fmt;

pub(crate) mod codec;
mod fields;
pub(crate) mod json;
mod shape;

#[allow(clippy::pedantic, clippy::large_enum_variant, missing_docs, unreachable_pub)]
mod generated {
    tonic::include_proto!("ecrbroker.v1");
}

pub use generated::*;

/// The descriptors of `proto/`, its imports and the error details, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("ecrbroker.v1");

/// Written by hand, because a derived `Debug` would print the password.
impl fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryCredentials")
            .field("registry", &self.registry)
            .field("credential_id", &self.credential_id)
            .field("expire_time", &self.expire_time)
            .field("password", &"[redacted]")
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p10_debug_of_messages_redacts_the_password() {
        let credentials = RegistryCredentials { password: "very-secret".into(), ..Default::default() };
        let batch = BatchGetRegistryCredentialsResponse {
            results: vec![BatchResult { result: Some(batch_result::Result::Credentials(credentials.clone())) }],
        };
        let response = GetRegistryCredentialsResponse { credentials: Some(credentials) };
        let printed = format!("{response:?} {response:#?} {batch:?}");
        assert!(printed.contains("[redacted]") && !printed.contains("very-secret"), "{printed}");
    }
}
