//! What a client asks for.

use std::time::Duration;

use crate::pb::GetRegistryCredentialsRequest;
use crate::pb::get_registry_credentials_request::Target;

const LONGEST: prost_types::Duration = prost_types::Duration { seconds: i64::MAX, nanos: 0 };

/// One registry's credentials.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// A registry host, a URL or an image reference.
    pub registry: String,
    /// The profile to mint them with; empty: the broker chooses.
    pub profile: String,
    /// How long they must still last.
    pub min_validity: Option<Duration>,
}

impl From<&Query> for GetRegistryCredentialsRequest {
    fn from(query: &Query) -> Self {
        Self {
            target: Some(Target::Registry(query.registry.clone())),
            profile: query.profile.clone(),
            // What a message cannot hold, no broker can promise: it says so.
            min_validity: query.min_validity.map(|validity| validity.try_into().unwrap_or(LONGEST)),
            rejected_credential_id: String::new(),
        }
    }
}
