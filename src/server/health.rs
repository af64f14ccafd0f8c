//! Health by `grpc.health.v1`: of the process under the empty name, of the credentials under the name of their service.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};

use crate::cache::CredentialCache;
use crate::protocol::MAX_REQUEST_BYTES;
use crate::source::SourceStatus;

/// Time between two updates of the service's status.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time between two searches for an AWS identity while there is none.
const IDENTITY_INTERVAL: Duration = Duration::from_secs(5);
/// The name by which clients ask for the health of the credentials.
const SERVICE: &str = "ecrbroker.v1.RegistryCredentialsService";

/// Reports health. A clone is a handle of the same report.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    reporter: HealthReporter,
    cache: CredentialCache,
    /// The status reported last: watchers hear only of changes.
    reported: Arc<Mutex<bool>>,
}

impl Health {
    /// Starts with a service that does not serve, until it is known that it can.
    pub(crate) async fn start(cache: CredentialCache) -> (Self, HealthServer<impl health_server::Health>) {
        let (reporter, service) = health_reporter();
        let health = Self { reporter, cache, reported: Arc::default() };
        health.report(SERVICE, false).await;
        (health, service.max_decoding_message_size(MAX_REQUEST_BYTES))
    }

    /// Keeps the service's status up to date: it does not serve while there is neither an AWS identity nor a usable credential.
    pub(crate) async fn watch(self) {
        tokio::join!(self.look_for_identity(), self.keep_updating());
    }

    /// Reports that nothing serves any more, so that callers go elsewhere.
    pub(crate) async fn drain(&self) {
        self.report("", false).await;
        self.report(SERVICE, false).await;
    }

    /// Looks for an AWS identity while there is none. A search may take long, so updates do not wait for it.
    async fn look_for_identity(&self) {
        let mut ticks = tokio::time::interval(IDENTITY_INTERVAL);
        loop {
            ticks.tick().await;
            if self.cache.source_status() != SourceStatus::Ready {
                self.cache.check_source().await;
                self.update().await;
            }
        }
    }

    async fn keep_updating(&self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            ticks.tick().await;
            self.update().await;
        }
    }

    async fn update(&self) {
        let mut reported = self.reported.lock().await;
        let serving = self.cache.can_serve();
        if *reported != serving {
            self.report(SERVICE, serving).await;
            *reported = serving;
        }
    }

    async fn report(&self, name: &str, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status(name, status).await;
    }
}
