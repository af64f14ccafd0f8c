//! What `grpc.health.v1` says.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};

use crate::cache::CredentialCache;
use crate::protocol::MAX_REQUEST_BYTES;
use crate::source::SourceStatus;

/// How often it is looked whether callers can be served.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often an AWS identity that is not there is looked for.
const IDENTITY_INTERVAL: Duration = Duration::from_secs(5);
/// The name that health is asked by for the credentials themselves.
const SERVICE: &str = "ecrbroker.v1.RegistryCredentialsService";

/// Says how the broker is: the process by the empty name, the credentials by the service's.
#[derive(Debug, Clone)]
pub(super) struct Health {
    reporter: HealthReporter,
    cache: CredentialCache,
    /// What was said last; a watcher hears of changes only.
    told: Arc<Mutex<bool>>,
}

impl Health {
    /// The service does not serve until it is known that it can.
    pub(super) async fn start(cache: CredentialCache) -> (Self, HealthServer<impl health_server::Health>) {
        let (reporter, service) = health_reporter();
        let health = Self { reporter, cache, told: Arc::default() };
        health.say(SERVICE, false).await;
        (health, service.max_decoding_message_size(MAX_REQUEST_BYTES))
    }

    /// Keeps the service's status true: not serving while there is no AWS identity and nothing good is held.
    pub(super) async fn watch(self) {
        tokio::join!(self.look(), self.keep_telling());
    }

    /// The end has begun: callers should go elsewhere.
    pub(super) async fn drain(&self) {
        self.say("", false).await;
        self.say(SERVICE, false).await;
    }

    /// Looks for an AWS identity while there is none. It may take long, so it is not done in between.
    async fn look(&self) {
        let mut tick = tokio::time::interval(IDENTITY_INTERVAL);
        loop {
            tick.tick().await;
            if self.cache.source_status() != SourceStatus::Ready {
                self.cache.check_source().await;
                self.tell().await;
            }
        }
    }

    async fn keep_telling(&self) {
        let mut tick = tokio::time::interval(INTERVAL);
        loop {
            tick.tick().await;
            self.tell().await;
        }
    }

    async fn tell(&self) {
        let mut told = self.told.lock().await;
        let serving = self.cache.can_serve();
        if *told != serving {
            self.say(SERVICE, serving).await;
            *told = serving;
        }
    }

    async fn say(&self, name: &str, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status(name, status).await;
    }
}
