//! The SDK's default credential chain (environment, files, web identity, container, IMDS), rebuilt after it fails.
//!
//! The SDK's chain reads its files once: it would never see keys that appear in `~/.aws/credentials` after the start. So a chain
//! that fails is dropped, and the next call builds a new one (P13). A chain that works is kept: its cache bridges an outage of IMDS.
//!
//! The chain is composed here, of the SDK's own providers and in their order: the SDK's composition does not tell which provider
//! ended the search with an error.

use std::sync::{Arc, Mutex};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{self, ProvideCredentials, future};

use self::files::Files;
use self::providers::Providers;
use crate::sync::lock;

mod facts;
mod files;
mod names;
mod providers;
mod reason;
mod search_failed;

pub(super) use self::reason::Reason;
pub(super) use self::search_failed::reasons;

/// The default chain. It is kept as long as it works.
#[derive(Debug)]
pub(super) struct DefaultChain {
    sdk: SdkConfig,
    working: Mutex<Option<Arc<Providers>>>,
    files: Files,
}

impl DefaultChain {
    /// Uses the region, the HTTP client and the timeouts of `sdk`.
    pub(super) fn new(sdk: &SdkConfig) -> Self {
        Self { sdk: sdk.clone(), working: Mutex::default(), files: Files::default() }
    }

    async fn credentials(&self) -> provider::Result {
        self.files.until_readable().await;
        let working = lock(&self.working).clone();
        let chain = working.unwrap_or_else(|| Arc::new(Providers::new(&self.sdk)));
        let result = chain.credentials().await;
        *lock(&self.working) = result.is_ok().then_some(chain);
        result
    }
}

impl ProvideCredentials for DefaultChain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        lock(&self.working).as_ref()?.fallback_on_interrupt()
    }
}
