//! `GetAuthorizationToken` of Amazon ECR, for private registries.

use aws_config::SdkConfig;
use aws_sdk_ecr::config::{Builder, Region};
use aws_sdk_ecr::types::AuthorizationData;
use aws_sdk_ecr::{Client, Config};
use aws_types::request_id::RequestId as _;

use super::error::{CallContext, invalid_response, record_request_id, safe_name, upstream_error};
use super::http::ResponseLimit;
use super::token;
use crate::clock::Clock;
use crate::credential::Credential;
use crate::error::UpstreamError;
use crate::registry::{AccountId, EndpointVariant, PrivateRegistry, Registry};

/// Fetches a token for the registry's account. If the registry names none, AWS chooses the identity's own account.
pub(super) async fn fetch(
    sdk: &SdkConfig,
    endpoint: Option<String>,
    registry: &PrivateRegistry,
    clock: &dyn Clock,
) -> Result<Credential, UpstreamError> {
    let client = Client::from_conf(config(sdk, endpoint, registry.region().as_str(), registry.variant()));
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
    let account = match registry.account() {
        Some(account) => account,
        None => account_of(data).ok_or_else(|| invalid_response("the response names no ECR registry"))?,
    };
    let request_id = response.request_id().and_then(safe_name);
    Ok(credential.for_account(Some(account)).with_upstream_request_id(request_id))
}

/// Builds the client's configuration. An endpoint override clears FIPS and dual-stack, because the SDK refuses the combination.
fn config(sdk: &SdkConfig, endpoint: Option<String>, region: &str, variant: EndpointVariant) -> Config {
    let config = Builder::from(sdk).region(Region::new(region.to_owned())).interceptor(ResponseLimit);
    match endpoint {
        Some(endpoint) => config.endpoint_url(endpoint).use_fips(false).use_dual_stack(false),
        None => config
            .use_fips(variant.fips || sdk.use_fips() == Some(true))
            .use_dual_stack(variant.dual_stack || sdk.use_dual_stack() == Some(true)),
    }
    .build()
}

/// Returns the account in `https://123456789012.dkr.ecr.eu-central-1.amazonaws.com`.
fn account_of(data: &AuthorizationData) -> Option<AccountId> {
    data.proxy_endpoint()?.parse::<Registry>().ok()?.account()
}
