//! Metrics layer: measures each call to the source below it.

use std::time::{Duration, SystemTime};

use super::metrics::{CallResult, Metrics, Service};
use super::{CredentialSource, FetchError, FetchRequest, RegionStatus, SourceFuture, SourceStatus};
use crate::credential::Credential;
use crate::error::SourceName;

/// A layer that measures calls. It belongs below admission control, so that the time in the queue does not count.
#[derive(Debug)]
pub struct Measured<S> {
    source: S,
    metrics: Metrics,
}

impl<S: CredentialSource> Measured<S> {
    /// Wraps `source`.
    #[must_use]
    pub fn new(source: S, metrics: Metrics) -> Self {
        Self { source, metrics }
    }
}

impl<S: CredentialSource> CredentialSource for Measured<S> {
    fn name(&self) -> SourceName {
        self.source.name()
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        Box::pin(async {
            let call = self.metrics.begin(self.name(), Service::of(&request.key.registry));
            let result = self.source.fetch(request).await;
            call.end(CallResult::of(&result));
            result
        })
    }

    fn status(&self) -> SourceStatus {
        self.source.status()
    }

    fn check(&self) -> SourceFuture<'_, SourceStatus> {
        self.source.check()
    }

    fn identity_problems(&self) -> Vec<String> {
        self.source.identity_problems()
    }

    fn identity_expires(&self) -> Option<SystemTime> {
        self.source.identity_expires()
    }

    fn regions(&self) -> Vec<RegionStatus> {
        self.source.regions()
    }

    fn fetch_budget(&self) -> Duration {
        self.source.fetch_budget()
    }
}

#[cfg(test)]
mod tests {
    use super::super::instrumented::Instrumented;
    use super::*;
    use crate::metrics::Registry;

    const EXPIRES: SystemTime = SystemTime::UNIX_EPOCH;

    /// A source with an identity that it cannot use.
    #[derive(Debug)]
    struct Expired;

    impl CredentialSource for Expired {
        fn name(&self) -> SourceName {
            SourceName::Aws
        }

        fn fetch<'a>(&'a self, _: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
            Box::pin(std::future::pending())
        }

        fn status(&self) -> SourceStatus {
            SourceStatus::NoCredentials
        }

        fn identity_problems(&self) -> Vec<String> {
            vec!["expired".to_owned()]
        }

        fn identity_expires(&self) -> Option<SystemTime> {
            Some(EXPIRES)
        }

        fn fetch_budget(&self) -> Duration {
            Duration::from_secs(7)
        }
    }

    #[test]
    fn layers_pass_on_what_the_source_knows_of_its_identity() {
        let source = Instrumented::new(Measured::new(Expired, Metrics::new(&mut Registry::default())));
        assert_eq!(source.identity_expires(), Some(EXPIRES));
        assert_eq!(source.identity_problems(), ["expired"]);
        assert_eq!(source.status(), SourceStatus::NoCredentials);
        assert_eq!(source.fetch_budget(), Duration::from_secs(7));
    }
}
