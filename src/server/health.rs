//! What `grpc.health.v1` says.

use std::time::Duration;

use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};

use crate::cache::CredentialCache;

/// How often it is looked whether callers can be served.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often an AWS identity that is not there is looked for.
const IDENTITY_INTERVAL: u32 = 5;
/// The name that health is asked by for the credentials themselves.
const SERVICE: &str = "ecrbroker.v1.RegistryCredentialsService";

/// Says how the broker is: the process by the empty name, the credentials by the service's.
#[derive(Debug, Clone)]
pub(super) struct Health {
    reporter: HealthReporter,
    cache: CredentialCache,
}

impl Health {
    pub(super) fn new(cache: CredentialCache) -> (Self, HealthServer<impl health_server::Health>) {
        let (reporter, service) = health_reporter();
        (Self { reporter, cache }, service)
    }

    /// Keeps the service's status true: not serving while there is no AWS identity and nothing good is held.
    pub(super) async fn watch(self) {
        let mut tick = tokio::time::interval(INTERVAL);
        self.cache.check_identity().await;
        for turn in 0_u32.. {
            tick.tick().await;
            if turn % IDENTITY_INTERVAL == 0 && self.cache.identity_missing() {
                self.cache.check_identity().await;
            }
            self.say(SERVICE, self.cache.can_serve()).await;
        }
    }

    /// The end has begun: callers should go elsewhere.
    pub(super) async fn drain(&self) {
        self.say("", false).await;
        self.say(SERVICE, false).await;
    }

    async fn say(&self, name: &str, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status(name, status).await;
    }
}
