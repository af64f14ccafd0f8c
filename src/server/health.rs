//! Health service (`grpc.health.v1`). The empty name has the health of the process, and the name of the credentials service tells
//! whether the broker can return credentials. `config` tells whether every configuration file is in effect.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tonic::codec::CompressionEncoding::{Deflate, Gzip};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};

use crate::cache::CredentialCache;
use crate::protocol::MAX_REQUEST_BYTES;
use crate::source::SourceStatus;
use crate::status::Readiness;

/// Time between two updates of the service's status.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time between two searches for an AWS identity while there is none.
const IDENTITY_INTERVAL: Duration = Duration::from_secs(5);
/// The name by which clients ask for the health of the credentials.
const SERVICE: &str = "ecrbroker.v1.RegistryCredentialsService";
/// The name by which operators ask whether every configuration file is in effect.
const CONFIGURATION: &str = "config";

/// Reports health. A clone is a handle of the same report.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    reporter: HealthReporter,
    cache: CredentialCache,
    /// The last reported status. Watchers get only changes.
    reported: Arc<Mutex<bool>>,
    readiness: Readiness,
    updates: Arc<AtomicU64>,
}

impl Health {
    /// Starts with the status `NOT_SERVING`, until a check finds that the broker can return credentials.
    pub(crate) async fn start(cache: CredentialCache) -> (Self, HealthServer<impl health_server::Health>) {
        let (reporter, service) = health_reporter();
        let health = Self {
            reporter,
            cache,
            reported: Arc::default(),
            readiness: Readiness::default(),
            updates: Arc::default(),
        };
        health.report(SERVICE, false).await;
        health.report_configuration(true).await;
        let service = service.accept_compressed(Gzip).accept_compressed(Deflate);
        (health, service.max_decoding_message_size(MAX_REQUEST_BYTES))
    }

    /// Returns the readiness, which the ops listener reports.
    pub(crate) fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Returns how often the service's status was looked at: the watchdog's proof of progress.
    pub(crate) fn updates(&self) -> u64 {
        self.updates.load(Ordering::Relaxed)
    }

    /// Reports whether every configuration file is in effect, or some keep their last valid contents. Callers are served either way.
    pub(crate) async fn report_configuration(&self, is_in_effect: bool) {
        self.report(CONFIGURATION, is_in_effect).await;
    }

    /// Reports `NOT_SERVING` for the names by which callers choose a broker, so that callers use another broker, and ends the readiness.
    pub(crate) async fn drain(&self) {
        // An update in progress must not report SERVING afterwards.
        let _reported = self.reported.lock().await;
        self.readiness.note_draining();
        self.report("", false).await;
        self.report(SERVICE, false).await;
    }

    /// Looks for an AWS identity while there is none. This may take long and read files, so it runs apart from the status updates.
    pub(crate) async fn look_for_identity(self) {
        let mut ticks = tokio::time::interval(IDENTITY_INTERVAL);
        loop {
            ticks.tick().await;
            if self.cache.source_status() != SourceStatus::Ready {
                self.cache.check_source().await;
                self.update().await;
            }
        }
    }

    /// Keeps the service's status up to date. It is `NOT_SERVING` while the broker has neither an AWS identity nor a usable credential.
    pub(crate) async fn keep_updating(self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            ticks.tick().await;
            self.update().await;
            self.updates.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn update(&self) {
        let mut reported = self.reported.lock().await;
        if self.readiness.is_draining() {
            return;
        }
        let serving = self.cache.can_serve();
        if serving {
            self.readiness.note_can_serve();
        }
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
