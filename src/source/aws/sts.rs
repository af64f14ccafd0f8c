//! How STS is asked, and what it gives whoever assumes a role, as the SDK has it.

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::config::Builder;
use aws_sdk_sts::{Client, types};

use super::http::LimitAnswer;

/// STS at an endpoint; `None`: at AWS's own.
pub(super) fn client(sdk: &SdkConfig, endpoint: Option<&str>) -> Client {
    let config = Builder::from(sdk).interceptor(LimitAnswer);
    Client::from_conf(match endpoint {
        Some(endpoint) => config.endpoint_url(endpoint).use_fips(false).use_dual_stack(false).build(),
        None => config.build(),
    })
}

/// A session's credentials; `way` is how they were come by.
pub(super) fn session(given: Option<&types::Credentials>, way: &'static str) -> provider::Result {
    let given = given.ok_or_else(|| CredentialsError::unhandled("STS gave no credentials"))?;
    let end = (*given.expiration()).try_into().map_err(CredentialsError::unhandled)?;
    let token = Some(given.session_token().to_owned());
    Ok(Credentials::new(given.access_key_id(), given.secret_access_key(), token, Some(end), way))
}
