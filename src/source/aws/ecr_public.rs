//! `GetAuthorizationToken` of Amazon ECR Public. Unlike ECR, it has one region, and its response has another shape.

use aws_config::SdkConfig;
use aws_sdk_ecrpublic::config::{Builder, Region};
use aws_sdk_ecrpublic::{Client, Config};
use aws_types::request_id::RequestId as _;

use super::error::{CallContext, invalid_response, record_request_id, safe_name, upstream_error};
use super::http::ResponseLimit;
use super::token;
use crate::clock::Clock;
use crate::credential::Credential;
use crate::error::UpstreamError;

/// Fetches a token. It works for the public registry under either of its hosts.
pub(super) async fn fetch(
    sdk: &SdkConfig,
    endpoint: Option<String>,
    region: &str,
    dual_stack: bool,
    clock: &dyn Clock,
) -> Result<Credential, UpstreamError> {
    let client = Client::from_conf(config(sdk, endpoint, region, dual_stack));
    let context = CallContext { clock, region, sts_region: sdk.region().map(AsRef::as_ref) };
    let response = client.get_authorization_token().send().await.map_err(|error| upstream_error(&error, context))?;
    record_request_id(response.request_id());
    let Some(data) = response.authorization_data() else {
        return Err(invalid_response("the response has no authorization data"));
    };
    let credential = token::read(data.authorization_token(), data.expires_at(), clock.now())?;
    Ok(credential.with_upstream_request_id(response.request_id().and_then(safe_name)))
}

/// Builds the client's configuration for `region`, not for the SDK's own region, which need not have ECR Public. FIPS is off,
/// because ECR Public has no FIPS endpoint.
fn config(sdk: &SdkConfig, endpoint: Option<String>, region: &str, dual_stack: bool) -> Config {
    let region = Region::new(region.to_owned());
    let config = Builder::from(sdk).region(region).use_fips(false).interceptor(ResponseLimit);
    match endpoint {
        Some(endpoint) => config.endpoint_url(endpoint).use_dual_stack(false),
        None => config.use_dual_stack(dual_stack || sdk.use_dual_stack() == Some(true)),
    }
    .build()
}
