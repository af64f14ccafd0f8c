//! Expiry of the broker's own credentials.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};

use crate::metrics::Registry;
use crate::sync::lock;

/// The expiry of the last credentials; `None`: there are none, or they do not expire. A clone is a handle of the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Expiry(Arc<Mutex<Option<SystemTime>>>);

/// A provider whose results set the expiry.
#[derive(Debug)]
struct Observed {
    inner: SharedCredentialsProvider,
    expiry: Expiry,
}

impl Expiry {
    pub(super) fn register(&self, registry: &mut Registry) {
        let expiry = self.clone();
        registry.on_scrape(move |scrape| {
            let since_epoch = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let expires = lock(&expiry.0).map(since_epoch).as_ref().map(Duration::as_secs_f64);
            let help = "Expiry of the broker's AWS credentials, in Unix time";
            scrape.gauge_if("ecr_broker_aws_identity_expiry_timestamp_seconds", help, expires)
        });
    }

    pub(super) fn get(&self) -> Option<SystemTime> {
        *lock(&self.0)
    }

    /// Returns `provider`, whose credentials set the expiry from now on.
    pub(super) fn observe(&self, provider: SharedCredentialsProvider) -> SharedCredentialsProvider {
        SharedCredentialsProvider::new(Observed { inner: provider, expiry: self.clone() })
    }
}

impl Observed {
    async fn credentials(&self) -> provider::Result {
        let credentials = self.inner.provide_credentials().await?;
        *lock(&self.expiry.0) = credentials.expiry();
        Ok(credentials)
    }
}

impl ProvideCredentials for Observed {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.inner.fallback_on_interrupt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn expiry_is_that_of_the_last_credentials() {
        let expiry = Expiry::default();
        let (end, keys) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000), ("id", "secret"));
        for expires in [Some(end), None] {
            let keys = Credentials::new(keys.0, keys.1, None, expires, "test");
            let provider = expiry.observe(SharedCredentialsProvider::new(keys));
            provider.provide_credentials().await.unwrap();
            assert_eq!(*lock(&expiry.0), expires);
        }
    }
}
