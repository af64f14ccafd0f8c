//! Metrics layer: measures each call to the source below it.

use std::time::Duration;

use super::metrics::{CallResult, Metrics, Service};
use super::{CredentialSource, FetchError, FetchRequest, RegionStatus, SourceFuture, SourceIdentity};
use crate::credential::Credential;

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
    fn identity(&self) -> &dyn SourceIdentity {
        self.source.identity()
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        Box::pin(async {
            let call = self.metrics.begin(&self.source.identity().name(), Service::of(&request.key));
            let result = self.source.fetch(request).await;
            call.end(CallResult::of(&result));
            result
        })
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
    use std::time::SystemTime;

    use super::super::SourceStatus;
    use super::super::instrumented::Instrumented;
    use super::*;
    use crate::error::SourceName;
    use crate::metrics::Registry;

    const EXPIRES: SystemTime = SystemTime::UNIX_EPOCH;

    /// A source with an identity that it cannot use.
    #[derive(Debug)]
    struct Expired;

    impl SourceIdentity for Expired {
        fn name(&self) -> SourceName {
            SourceName::Aws
        }

        fn status(&self) -> SourceStatus {
            SourceStatus::NoCredentials
        }

        fn check(&self) -> SourceFuture<'_, SourceStatus> {
            Box::pin(std::future::pending())
        }

        fn problems(&self) -> Vec<String> {
            vec!["expired".to_owned()]
        }

        fn expires(&self) -> Option<SystemTime> {
            Some(EXPIRES)
        }
    }

    impl CredentialSource for Expired {
        fn identity(&self) -> &dyn SourceIdentity {
            self
        }

        fn fetch<'a>(&'a self, _: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
            Box::pin(std::future::pending())
        }

        fn regions(&self) -> Vec<RegionStatus> {
            Vec::new()
        }

        fn fetch_budget(&self) -> Duration {
            Duration::from_secs(7)
        }
    }

    #[test]
    fn layers_pass_on_what_the_source_knows_of_its_identity() {
        let source = Instrumented::new(Measured::new(Expired, Metrics::new(&mut Registry::default())));
        let identity = source.identity();
        assert_eq!((identity.expires(), identity.status()), (Some(EXPIRES), SourceStatus::NoCredentials));
        assert_eq!(identity.problems(), ["expired"]);
        assert_eq!(source.fetch_budget(), Duration::from_secs(7));
    }
}
