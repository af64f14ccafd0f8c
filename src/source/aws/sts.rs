//! STS clients, and the session credentials in STS's responses.

use std::error::Error;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::config::Builder;
use aws_sdk_sts::{Client, types};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::error::classify;
use super::http::ResponseLimit;
use crate::error::SourceName;
use crate::source::Metrics;
use crate::source::metrics::{CallResult, Service};

/// Returns a client of STS at `endpoint`, or at AWS's own if it is `None`. An override clears FIPS and dual-stack, because the SDK
/// refuses the combination.
pub(super) fn client(sdk: &SdkConfig, endpoint: Option<&str>) -> Client {
    let config = Builder::from(sdk).interceptor(ResponseLimit);
    Client::from_conf(match endpoint {
        Some(endpoint) => config.endpoint_url(endpoint).use_fips(false).use_dual_stack(false).build(),
        None => config.build(),
    })
}

/// Converts a session's credentials. `operation` names the STS call for the SDK's own logs.
pub(super) fn session_credentials(
    credentials: Option<&types::Credentials>,
    operation: &'static str,
) -> provider::Result {
    let credentials = credentials.ok_or_else(|| CredentialsError::unhandled("STS returned no credentials"))?;
    let expires = (*credentials.expiration()).try_into().map_err(CredentialsError::unhandled)?;
    let token = Some(credentials.session_token().to_owned());
    let (id, secret) = (credentials.access_key_id(), credentials.secret_access_key());
    Ok(Credentials::new(id, secret, token, Some(expires), operation))
}

/// Measures a call.
pub(super) async fn measured<T, E>(
    metrics: &Metrics,
    call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
) -> Result<T, SdkError<E, HttpResponse>>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let measured = metrics.begin(&SourceName::Aws, Service::Sts);
    let result = call.await;
    measured.end(result.as_ref().map_or_else(|error| classify(error).into(), |_| CallResult::Ok));
    result
}
