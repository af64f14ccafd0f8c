//! A fetch as a request to a parent: the message and its metadata.

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};

use crate::credential::{CredentialKey, ProfileName};
use crate::pb::get_registry_credentials_request::Target;
use crate::pb::{GetRegistryCredentialsRequest, PrivateRegistry, PublicRegistry};
use crate::registry::Registry;
use crate::source::FetchRequest;
use crate::trace::SpanIdentity;

/// Validity that is asked for if the wanted one overflows the message.
const LONGEST: prost_types::Duration = prost_types::Duration { seconds: i64::MAX, nanos: 0 };

/// Returns the message of a fetch. The parent's profile has the name that the key has; `default` is its first grant's.
pub(super) fn message(request: &FetchRequest) -> GetRegistryCredentialsRequest {
    let FetchRequest { key, min_validity, rejected, .. } = request;
    GetRegistryCredentialsRequest {
        target: Some(target(&key.registry)),
        profile: profile(key),
        min_validity: Some((*min_validity).try_into().unwrap_or(LONGEST)).filter(|_| *min_validity > Duration::ZERO),
        rejected_credential_id: rejected.map(|id| id.to_string()).unwrap_or_default(),
    }
}

/// Returns the parent's profile of a key; empty: the parent's grants choose.
pub(super) fn profile(key: &CredentialKey) -> String {
    if key.profile == ProfileName::default_profile() { String::new() } else { key.profile.to_string() }
}

/// Returns the registry by its host, which names each variant. Without an account there is no host.
pub(super) fn target(registry: &Registry) -> Target {
    match (registry.host(), registry) {
        (Some(host), _) => Target::Registry(host),
        (None, Registry::Public { .. }) => Target::PublicRegistry(PublicRegistry {}),
        (None, Registry::Private(private)) => Target::PrivateRegistry(PrivateRegistry {
            account_id: String::new(),
            region: private.region().to_string(),
            fips: private.variant().fips,
            dual_stack: private.variant().dual_stack,
        }),
    }
}

/// Adds the fetch's trace, by which the parent's spans join it.
pub(super) fn add_trace(metadata: &mut MetadataMap) {
    if let Some(span) = SpanIdentity::current() {
        insert(metadata, "traceparent", &span.traceparent());
    }
}

/// Sets a header whose value this program writes.
pub(super) fn insert(metadata: &mut MetadataMap, name: &'static str, value: &str) {
    let name = MetadataKey::<Ascii>::from_static(name);
    if let Ok(value) = value.parse::<MetadataValue<Ascii>>() {
        metadata.insert(name, value);
    }
}
