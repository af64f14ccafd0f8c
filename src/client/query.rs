//! Query for one registry's credentials.

use std::time::Duration;

use crate::pb::GetRegistryCredentialsRequest;
use crate::pb::get_registry_credentials_request::Target;
use crate::registry::{Registry, RegistryError};

const LONGEST: prost_types::Duration = prost_types::Duration { seconds: i64::MAX, nanos: 0 };

/// A registry, and the credentials wanted for it.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Registry host, URL or image reference.
    pub registry: String,
    /// Profile; if empty, the broker chooses.
    pub profile: String,
    /// Validity that the credentials must have left.
    pub min_validity: Option<Duration>,
    /// ID of a credential that must not be the answer; empty: any may be.
    pub rejected: String,
}

impl Query {
    /// Returns a query for a registry, with the profile and the validity that the broker chooses.
    #[must_use]
    pub fn new(registry: impl Into<String>) -> Self {
        Self { registry: registry.into(), ..Self::default() }
    }
}

impl From<&Query> for GetRegistryCredentialsRequest {
    fn from(query: &Query) -> Self {
        Self {
            target: Some(Target::Registry(query.registry.clone())),
            profile: query.profile.clone(),
            // The broker rejects a validity that overflows the message, with its own error.
            min_validity: query.min_validity.map(|validity| validity.try_into().unwrap_or(LONGEST)),
            rejected_credential_id: query.rejected.clone(),
        }
    }
}

/// Returns the host that the broker may answer with for a registry, URL or image reference.
#[must_use]
pub fn registry_host(registry: &str) -> Option<String> {
    match registry.parse::<Registry>() {
        Ok(registry) => registry.host(),
        // The broker may have it as an alias.
        Err(RegistryError::NotEcr { host }) => Some(host),
        Err(RegistryError::Invalid(_)) => None,
    }
}
