//! The SDK's default credential chain (environment, files, web identity, container, IMDS), rebuilt after it fails.
//!
//! The SDK's chain reads its files once: it would never see keys that appear in `~/.aws/credentials` after the start. So a chain
//! that fails is dropped, and the next call builds a new one (P13). A chain that works is kept: its cache bridges an outage of IMDS.

use std::sync::{Arc, Mutex};

use aws_config::SdkConfig;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::{self, ProvideCredentials, future};

use crate::sync::lock;

/// The default chain. It is kept as long as it works.
#[derive(Debug)]
pub(super) struct DefaultChain {
    sdk: SdkConfig,
    working: Mutex<Option<Arc<DefaultCredentialsChain>>>,
}

impl DefaultChain {
    /// Uses the region, the HTTP client and the timeouts of `sdk`.
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
        // The region is set even if it is `None`. Otherwise the builder looks for one, and waits a second for a missing IMDS.
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
