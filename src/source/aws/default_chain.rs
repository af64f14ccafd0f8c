//! The SDK's default chain of credentials (environment, files, web identity, container, IMDS), given a second chance.
//!
//! A chain of the SDK's reads its files once for good: keys that appear in `~/.aws/credentials` after the start would never be
//! seen. So a chain that fails is dropped, and whoever asks next looks with a new one. A chain that works is kept, for it
//! remembers what carries it over an outage of IMDS.

use std::sync::{Arc, Mutex};

use aws_config::SdkConfig;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::{self, ProvideCredentials, future};

use crate::sync::lock;

/// The default chain, for as long as it works.
#[derive(Debug)]
pub(super) struct DefaultChain {
    sdk: SdkConfig,
    working: Mutex<Option<Arc<DefaultCredentialsChain>>>,
}

impl DefaultChain {
    /// A chain that reaches AWS as `sdk` does.
    pub(super) fn new(sdk: &SdkConfig) -> Self {
        Self { sdk: sdk.clone(), working: Mutex::default() }
    }

    async fn credentials(&self) -> provider::Result {
        let working = lock(&self.working).clone();
        let chain = match working {
            Some(chain) => chain,
            None => Arc::new(self.build().await),
        };
        let result = chain.provide_credentials().await;
        *lock(&self.working) = result.is_ok().then_some(chain);
        result
    }

    async fn build(&self) -> DefaultCredentialsChain {
        let region = self.sdk.region().cloned();
        let mut config = ProviderConfig::default()
            .with_region(region.clone())
            .with_use_fips(self.sdk.use_fips())
            .with_use_dual_stack(self.sdk.use_dual_stack())
            .with_behavior_version(self.sdk.behavior_version());
        if let Some(client) = self.sdk.http_client() {
            config = config.with_http_client(client);
        }
        if let Some(timeouts) = self.sdk.timeout_config() {
            config = config.with_timeout_config(timeouts.clone());
        }
        // Also where there is none: the builder would look for one itself, for a second where there is no IMDS.
        DefaultCredentialsChain::builder().configure(config).region(region).build().await
    }
}

impl ProvideCredentials for DefaultChain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}
