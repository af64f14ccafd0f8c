//! The generated protobuf and gRPC types of `proto/`.

use std::fmt;

#[allow(clippy::pedantic, clippy::large_enum_variant, missing_docs, unreachable_pub)]
mod generated {
    tonic::include_proto!("ecrbroker.v1");
}

pub use generated::*;

/// The descriptors of `proto/` and of all that it stands on, error details included, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("ecrbroker.v1");

/// By hand, for the derived one would print the password.
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
    fn no_message_prints_a_password() {
        let credentials = RegistryCredentials { password: "very-secret".into(), ..Default::default() };
        let batch = BatchGetRegistryCredentialsResponse {
            results: vec![BatchResult { result: Some(batch_result::Result::Credentials(credentials.clone())) }],
        };
        let response = GetRegistryCredentialsResponse { credentials: Some(credentials) };
        let printed = format!("{response:?} {response:#?} {batch:?}");
        assert!(printed.contains("[redacted]") && !printed.contains("very-secret"), "{printed}");
    }
}
