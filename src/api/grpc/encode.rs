//! From released credentials to response messages.

use tonic::Status;

use super::status;
use crate::broker::Released;
use crate::cache::{CacheStatus, Found};
use crate::credential;
use crate::pb;
use crate::pb::batch_result::Result as Outcome;
use crate::registry::Registry;

/// The region of the public registry's API.
const PUBLIC_REGION: &str = "us-east-1";

/// Returns the message of a released credential.
pub(super) fn credentials(released: Released) -> pb::RegistryCredentials {
    let Released { found, key, host, account } = released;
    let credential = &found.credential;
    let (registry_type, auth_scheme) = match key.registry {
        Registry::Private(_) => (pb::RegistryType::Private, pb::AuthScheme::Basic),
        Registry::Public { .. } => (pb::RegistryType::Public, pb::AuthScheme::Bearer),
    };
    pb::RegistryCredentials {
        endpoint: format!("https://{host}"),
        registry: host,
        username: credential::USERNAME.to_owned(),
        password: credential.password().expose().to_owned(),
        issue_time: Some(credential.issued().into()),
        expire_time: Some(credential.expires().into()),
        refresh_after: prost_types::Duration::try_from(found.refresh_after).ok(),
        registry_type: registry_type.into(),
        auth_scheme: auth_scheme.into(),
        credential_id: credential.id().to_string(),
        cache_status: cache_status(found.status).into(),
        account_id: account.map(|account| account.to_string()).unwrap_or_default(),
        region: key.registry.region().map_or_else(|| PUBLIC_REGION.to_owned(), ToString::to_string),
        profile: key.profile.to_string(),
        valid_for: prost_types::Duration::try_from(found.remaining).ok(),
        source: source(&found),
    }
}

/// Returns the source of a fetch. A hit has none, so that it makes no text.
fn source(found: &Found) -> String {
    match found.status {
        CacheStatus::Miss => found.credential.source().id().to_owned(),
        CacheStatus::Hit | CacheStatus::Coalesced | CacheStatus::Stale => String::new(),
    }
}

/// Returns the result of one request of a batch.
pub(super) fn batch_result(result: Result<pb::RegistryCredentials, Status>) -> pb::BatchResult {
    let outcome = match result {
        Ok(credentials) => Outcome::Credentials(credentials),
        Err(status) => Outcome::Error(status::to_message(&status)),
    };
    pb::BatchResult { result: Some(outcome) }
}

fn cache_status(status: CacheStatus) -> pb::CacheStatus {
    match status {
        CacheStatus::Hit => pb::CacheStatus::Hit,
        CacheStatus::Miss => pb::CacheStatus::Miss,
        CacheStatus::Coalesced => pb::CacheStatus::Coalesced,
        CacheStatus::Stale => pb::CacheStatus::Stale,
    }
}
