//! From request messages to requests of the broker.

use std::time::Duration;

use super::status::ErrorContext;
use crate::api::request::default_region;
use crate::broker::{Broker, CredentialRequest, KnownIds, RequestContext};
use crate::credential::{CredentialId, ProfileName, ProfileNameError};
use crate::error::BrokerError;
use crate::pb;
use crate::pb::get_registry_credentials_request::Target;
use crate::protocol::MAX_KNOWN_IDS;
use crate::registry::{EndpointVariant, PrivateRegistry, Registry, ResolvedRegistry};

/// Reads a request for one credential, and returns with it what its errors are about.
///
/// Aliases and the default region are the broker's.
pub(super) fn credential_request(
    broker: &Broker,
    context: &RequestContext,
    message: &pb::GetRegistryCredentialsRequest,
) -> Result<(CredentialRequest, ErrorContext), BrokerError> {
    // First: the registry is what most invalid requests get wrong, and its reasons are more specific.
    let target = target(broker, message.target.as_ref())?;
    let request = CredentialRequest {
        profile: profile(&message.profile)?,
        min_validity: min_validity(message.min_validity.as_ref())?,
        rejected: rejected(&message.rejected_credential_id)?,
        ..CredentialRequest::new(context.clone(), target)
    };
    let error_context = ErrorContext::of(&request);
    let names_region = !matches!(&message.target, Some(Target::PrivateRegistry(parts)) if parts.region.is_empty());
    Ok((request, if names_region { error_context } else { error_context.without_region() }))
}

/// Reads the IDs of the credentials that a watcher already has.
pub(super) fn known_ids(ids: &[String]) -> Result<KnownIds, BrokerError> {
    if ids.len() > MAX_KNOWN_IDS {
        let problem = format!("too many; name at most {MAX_KNOWN_IDS}");
        return Err(BrokerError::RequestInvalid { field: "known_credential_ids", problem });
    }
    ids.iter().map(|id| credential_id("known_credential_ids", id)).collect()
}

fn target(broker: &Broker, target: Option<&Target>) -> Result<ResolvedRegistry, BrokerError> {
    match target {
        Some(Target::Registry(text)) => broker.resolve(text).map_err(|error| BrokerError::registry("registry", &error)),
        Some(Target::PrivateRegistry(parts)) => private_registry(broker, parts).map(|it| Registry::Private(it).into()),
        Some(Target::PublicRegistry(pb::PublicRegistry {})) => Ok(Registry::PUBLIC.into()),
        None => Err(BrokerError::RequestInvalid {
            field: "target",
            problem: "set registry, private_registry or public_registry".to_owned(),
        }),
    }
}

fn private_registry(broker: &Broker, parts: &pb::PrivateRegistry) -> Result<PrivateRegistry, BrokerError> {
    let invalid = |field| move |error| BrokerError::registry(field, &error);
    let account = Some(parts.account_id.as_str()).filter(|account| !account.is_empty());
    let account = account.map(str::parse).transpose().map_err(invalid("private_registry.account_id"))?;
    let region = match parts.region.as_str() {
        "" => default_region(broker, "private_registry.region", "name a region")?,
        region => broker.parse_region(region).map_err(invalid("private_registry.region"))?,
    };
    let variant = EndpointVariant { fips: parts.fips, dual_stack: parts.dual_stack };
    PrivateRegistry::new(account, region, variant).map_err(invalid("private_registry.dual_stack"))
}

fn min_validity(duration: Option<&prost_types::Duration>) -> Result<Duration, BrokerError> {
    let Some(duration) = duration else { return Ok(Duration::ZERO) };
    Duration::try_from(*duration).map_err(|_| BrokerError::RequestInvalid {
        field: "min_validity",
        problem: "negative or out of range; leave it out, or give a positive duration".to_owned(),
    })
}

fn profile(name: &str) -> Result<Option<ProfileName>, BrokerError> {
    let invalid =
        |error: ProfileNameError| BrokerError::RequestInvalid { field: "profile", problem: error.to_string() };
    if name.is_empty() { Ok(None) } else { name.parse().map(Some).map_err(invalid) }
}

fn rejected(id: &str) -> Result<Option<CredentialId>, BrokerError> {
    if id.is_empty() { Ok(None) } else { credential_id("rejected_credential_id", id).map(Some) }
}

fn credential_id(field: &'static str, id: &str) -> Result<CredentialId, BrokerError> {
    CredentialId::parse(id).ok_or_else(|| BrokerError::RequestInvalid {
        field,
        problem: "not a credential_id; give the 32 hexadecimal digits of a credential's credential_id".to_owned(),
    })
}
