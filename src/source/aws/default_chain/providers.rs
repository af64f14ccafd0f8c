//! The providers of the default chain, in the SDK's order.

use aws_config::SdkConfig;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials};

use super::names::{CONTAINER, ENVIRONMENT, IMDS, PROFILE, WEB_IDENTITY};
use super::search_failed::{Attempt, SearchFailed};

/// Providers by the names that the SDK gives them.
#[derive(Debug)]
pub(super) struct Providers(Vec<(&'static str, Box<dyn ProvideCredentials>)>);

impl Providers {
    /// Builds the providers. The SDK's own builder would look for a region first, and wait a second for a missing IMDS.
    pub(super) fn new(sdk: &SdkConfig) -> Self {
        let config = &provider_config(sdk);
        Self(vec![
            (ENVIRONMENT, Box::new(EnvironmentVariableCredentialsProvider::new())),
            (PROFILE, Box::new(ProfileFileCredentialsProvider::builder().configure(config).build())),
            (WEB_IDENTITY, Box::new(WebIdentityTokenCredentialsProvider::builder().configure(config).build())),
            (CONTAINER, Box::new(EcsCredentialsProvider::builder().configure(config).build())),
            (IMDS, Box::new(ImdsCredentialsProvider::builder().configure(config).build())),
        ])
    }

    /// Returns the credentials of the first provider that is configured. A provider that is configured and fails ends the search:
    /// the credentials of another could have more permissions.
    pub(super) async fn credentials(&self) -> provider::Result {
        let mut attempts = Vec::new();
        for (provider, inner) in &self.0 {
            let error = match inner.provide_credentials().await {
                Ok(credentials) => return Ok(credentials),
                Err(error) => error,
            };
            let ends_search = !matches!(error, CredentialsError::CredentialsNotLoaded(_));
            attempts.push(Attempt { provider, error });
            if ends_search {
                return Err(CredentialsError::provider_error(SearchFailed::new(attempts).await));
            }
        }
        Err(CredentialsError::not_loaded(SearchFailed::new(attempts).await))
    }

    /// Returns the credentials to use if the search takes too long.
    pub(super) fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.0.iter().find_map(|(_, provider)| provider.fallback_on_interrupt())
    }
}

fn provider_config(sdk: &SdkConfig) -> ProviderConfig {
    let mut config = ProviderConfig::default()
        .with_region(sdk.region().cloned())
        .with_use_fips(sdk.use_fips())
        .with_use_dual_stack(sdk.use_dual_stack())
        .with_behavior_version(sdk.behavior_version());
    if let Some(client) = sdk.http_client() {
        config = config.with_http_client(client);
    }
    if let Some(timeouts) = sdk.timeout_config() {
        config = config.with_timeout_config(timeouts.clone());
    }
    config
}

#[cfg(test)]
mod tests {
    use aws_config::default_provider::credentials::DefaultCredentialsChain;

    use super::*;

    /// An update of the SDK may add a provider, which this chain must then have too.
    #[tokio::test]
    async fn chain_has_the_providers_of_the_sdks_chain_in_its_order() {
        let sdk = SdkConfig::builder().behavior_version(aws_config::BehaviorVersion::latest()).build();
        let names: Vec<_> = Providers::new(&sdk).0.iter().map(|(name, _)| *name).collect();
        let region = aws_config::Region::new("eu-central-1");
        let of_sdk = DefaultCredentialsChain::builder().region(region).build().await;
        let (_, list) = format!("{of_sdk:?}").split_once('[').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        assert_eq!(list.split(']').next().unwrap(), format!("{names:?}").trim_matches(['[', ']']));
    }
}
