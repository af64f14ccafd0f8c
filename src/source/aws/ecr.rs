//! `GetAuthorizationToken` of Amazon ECR, for private registries.

use aws_config::SdkConfig;
use aws_sdk_ecr::config::{Builder, Region};
use aws_sdk_ecr::types::AuthorizationData;
use aws_sdk_ecr::{Client, Config};
use aws_types::request_id::RequestId as _;

use super::endpoints::Override;
use super::error::{CallContext, invalid_response, misconfigured, record_request_id, safe_name, upstream_error};
use super::http::ResponseLimit;
use super::token;
use crate::clock::Clock;
use crate::credential::Credential;
use crate::error::UpstreamError;
use crate::registry::{AccountId, EndpointVariant, PrivateRegistry, Registry};

const NOT_FIPS: &str = "a FIPS registry needs a FIPS endpoint, and an override names another; correct aws.ecr_endpoint";

/// Fetches a token for the registry's account. If the registry names none, AWS chooses the identity's own account.
pub(super) async fn fetch(
    sdk: &SdkConfig,
    endpoint: Option<Override>,
    registry: &PrivateRegistry,
    clock: &dyn Clock,
) -> Result<Credential, UpstreamError> {
    let client = Client::from_conf(config(sdk, endpoint, registry.region().as_str(), registry.variant())?);
    let account = registry.account().map(|account| account.to_string());
    // AWS deprecated the parameter, but only with it does the response name the registry's account.
    #[allow(deprecated)]
    let call = client.get_authorization_token().set_registry_ids(account.map(|account| vec![account]));
    let context =
        CallContext { clock, region: registry.region().as_str(), sts_region: sdk.region().map(AsRef::as_ref) };
    let response = call.send().await.map_err(|error| upstream_error(&error, context))?;
    record_request_id(response.request_id());
    let Some(data) = response.authorization_data().first() else {
        return Err(invalid_response("the response's list of tokens is empty"));
    };
    let credential = token::read(data.authorization_token(), data.expires_at(), clock.now())?;
    let account = account_of(data, registry)?;
    let request_id = response.request_id().and_then(safe_name);
    Ok(credential.for_account(Some(account)).with_upstream_request_id(request_id))
}

/// Builds the client's configuration. An endpoint override clears FIPS and dual-stack, because the SDK refuses the combination: so the
/// override itself must name a FIPS endpoint.
pub(super) fn config(
    sdk: &SdkConfig,
    endpoint: Option<Override>,
    region: &str,
    variant: EndpointVariant,
) -> Result<Config, UpstreamError> {
    let config = Builder::from(sdk).region(Region::new(region.to_owned())).interceptor(ResponseLimit);
    let fips = variant.fips || sdk.use_fips() == Some(true);
    let config = match endpoint {
        Some(endpoint) if fips && !endpoint.is_fips => return Err(misconfigured(NOT_FIPS)),
        Some(endpoint) => config.endpoint_url(endpoint.url).use_fips(false).use_dual_stack(false),
        None => config.use_fips(fips).use_dual_stack(variant.dual_stack || sdk.use_dual_stack() == Some(true)),
    };
    Ok(config.build())
}

/// Returns the account of the token. A response that names another account or region than the registry's is refused: the token would
/// be handed out as the registry's.
fn account_of(data: &AuthorizationData, registry: &PrivateRegistry) -> Result<AccountId, UpstreamError> {
    let named = data.proxy_endpoint();
    let Some(account) = registry.account() else {
        let named = named.and_then(|endpoint| endpoint.parse::<Registry>().ok()?.account());
        return named.ok_or_else(|| invalid_response("the response names no ECR registry"));
    };
    match named.and_then(registry_in) {
        Some(named) if named != (account.as_str(), registry.region().as_str()) => {
            Err(invalid_response("the response is for another account or region than the registry's"))
        }
        // Some emulators name no registry.
        _ => Ok(account),
    }
}

/// Returns account and region in `https://123456789012.dkr.ecr.eu-central-1.amazonaws.com`, whatever the host's suffix and kind: AWS
/// names the plain host of a FIPS registry, and emulators use domains that are not AWS's.
fn registry_in(endpoint: &str) -> Option<(&str, &str)> {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest).split(['/', ':']).next()?;
    let (account, rest) = host.split_once('.')?;
    let rest = rest.strip_prefix("dkr.ecr").or_else(|| rest.strip_prefix("dkr-ecr"))?;
    let rest = rest.strip_prefix("-fips").unwrap_or(rest);
    Some((account, rest.strip_prefix('.')?.split('.').next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "555555555555";

    fn account_for(endpoint: Option<&str>, account: Option<&str>) -> Option<String> {
        let data = AuthorizationData::builder().set_proxy_endpoint(endpoint.map(str::to_owned)).build();
        let account = account.map(|account| account.parse().unwrap());
        let registry = PrivateRegistry::new(account, "eu-west-1".parse().unwrap(), EndpointVariant::default()).unwrap();
        account_of(&data, &registry).ok().map(|account| account.to_string())
    }

    #[test]
    fn response_for_another_account_or_region_is_refused() {
        for (endpoint, accepted) in [
            ("https://555555555555.dkr.ecr.eu-west-1.amazonaws.com", true),
            ("https://555555555555.dkr.ecr-fips.eu-west-1.amazonaws.com/", true),
            ("https://555555555555.dkr-ecr.eu-west-1.on.aws", true),
            ("https://555555555555.dkr.ecr.eu-west-1.localhost.localstack.cloud:4566", true),
            ("http://localhost:4510", true),
            ("https://666666666666.dkr.ecr.eu-west-1.amazonaws.com", false),
            ("https://666666666666.dkr.ecr.eu-west-1.emulator.example:4566", false),
            ("https://555555555555.dkr.ecr.eu-west-2.amazonaws.com", false),
            ("https://666666666666.dkr-ecr-fips.eu-west-1.on.aws", false),
        ] {
            let expected = accepted.then_some(ACCOUNT);
            assert_eq!(account_for(Some(endpoint), Some(ACCOUNT)).as_deref(), expected, "{endpoint}");
        }
        assert_eq!(account_for(None, Some(ACCOUNT)).as_deref(), Some(ACCOUNT));
        let other = "https://666666666666.dkr.ecr.eu-west-2.amazonaws.com";
        assert_eq!(account_for(Some(other), None).as_deref(), Some("666666666666"), "no account was asked for");
        assert_eq!(account_for(None, None), None);
    }
}
