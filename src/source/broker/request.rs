//! A fetch as a request to a parent: the message and its metadata.

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};

use crate::caller::Caller;
use crate::credential::{CredentialKey, ProfileName};
use crate::hops::{ChainProblem, HOPS_HEADER, Hops, InstanceId, REQUEST_ID_HEADER, VIA_HEADER};
use crate::pb::get_registry_credentials_request::Target;
use crate::pb::{GetRegistryCredentialsRequest, PrivateRegistry, PublicRegistry};
use crate::protocol::{CALLER_ASSERTED, CALLER_TOKEN, CALLER_VIA};
use crate::registry::Registry;
use crate::request_id::RequestId;
use crate::source::{CallerProof, FetchRequest};
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

/// Returns the registry by its host, which names each variant. A key without an account has none.
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

/// Adds the brokers that a request passed, and this one.
///
/// # Errors
/// The request would pass too many.
pub(super) fn add_hops(metadata: &mut MetadataMap, hops: &Hops, own: InstanceId) -> Result<(), ChainProblem> {
    let (count, via) = hops.through(own)?;
    insert(metadata, HOPS_HEADER, &count);
    insert(metadata, VIA_HEADER, &via);
    Ok(())
}

/// Adds the IDs by which the parent's records and spans are joined with this broker's.
pub(super) fn add_ids(metadata: &mut MetadataMap, request_id: RequestId) {
    insert(metadata, REQUEST_ID_HEADER, &request_id.to_string());
    if let Some(span) = SpanIdentity::current() {
        insert(metadata, "traceparent", &span.traceparent());
    }
}

/// Adds the caller that a fetch is for: its token, or its name with this broker's word for it.
///
/// # Errors
/// The caller cannot be named. Without it the parent would decide about this broker.
pub(super) fn add_caller(
    metadata: &mut MetadataMap,
    CallerProof { caller, token }: &CallerProof,
) -> Result<(), String> {
    if let Some(via) = caller.via() {
        metadata.insert(CALLER_VIA, value(&via.to_string())?);
    }
    match (token, caller.job()) {
        (Some(token), _) => {
            let mut token = value(token.expose())?;
            token.set_sensitive(true);
            metadata.insert(CALLER_TOKEN, token);
        }
        (None, Caller::Token(_)) => return Err("the caller's token was not kept".to_owned()),
        (None, asserted) => _ = metadata.insert(CALLER_ASSERTED, value(&asserted.to_string())?),
    }
    Ok(())
}

fn value(text: &str) -> Result<MetadataValue<Ascii>, String> {
    text.parse().map_err(|_| "the caller's token or name is not printable ASCII".to_owned())
}

/// Sets a header whose value this program writes.
fn insert(metadata: &mut MetadataMap, name: &'static str, value: &str) {
    let name = MetadataKey::<Ascii>::from_static(name);
    if let Ok(value) = value.parse::<MetadataValue<Ascii>>() {
        metadata.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::bearer_token::BearerToken;

    fn added(caller: &str, token: Option<&str>) -> Result<MetadataMap, String> {
        let token = token.map(|token| Arc::new(BearerToken::from(token.to_owned())));
        let (proof, mut metadata) = (CallerProof { caller: caller.parse().unwrap(), token }, MetadataMap::new());
        add_caller(&mut metadata, &proof).map(|()| metadata)
    }

    #[test]
    fn caller_is_forwarded_by_its_token_or_its_name_and_its_way() {
        let text = |metadata: &MetadataMap, name| metadata.get(name).map(|value| value.to_str().unwrap().to_owned());
        let token = added("jwt:blue:ci", Some("a.b.c")).unwrap();
        assert_eq!((text(&token, CALLER_TOKEN), token.len()), (Some("a.b.c".into()), 1));
        assert!(!format!("{token:?}").contains("a.b.c"), "it is sensitive");
        let user = added("uid:7,gid:8", None).unwrap();
        assert_eq!((text(&user, CALLER_ASSERTED), user.len()), (Some("uid:7,gid:8".into()), 1));
        let far = added("via spiffe://a.example/node/1 jwt:blue:ci", Some("a.b.c")).unwrap();
        assert_eq!(text(&far, CALLER_VIA), Some("spiffe://a.example/node/1".into()));
        assert_eq!((text(&far, CALLER_TOKEN), far.len()), (Some("a.b.c".into()), 2));
        let certified = added("spiffe://a.example/job", Some("a.b.c")).unwrap();
        assert_eq!((text(&certified, CALLER_TOKEN), certified.len()), (Some("a.b.c".into()), 1));
        assert!(added("jwt:blue:ci", None).unwrap_err().contains("was not kept"));
        assert!(added("jwt:blue:ci", Some("a\nb")).unwrap_err().contains("not printable ASCII"));
    }
}
