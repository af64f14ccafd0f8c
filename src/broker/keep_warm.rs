//! Registries that are kept warm: fetched at the start, and refreshed by time and not only when somebody asks, so that an idle night
//! and an outage in the morning cost nobody anything.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{interval, sleep};

use super::Broker;
use crate::credential::{CredentialKey, ProfileName};
use crate::registry::Registry;

/// How often it is looked what is due.
const INTERVAL: Duration = Duration::from_secs(30);
/// One registry after the other, so that AWS is not asked for all at once; at the start anywhere in the time that this makes, for many
/// brokers may start together, as after a power cut.
const SPREAD: Duration = Duration::from_millis(50);
/// But the last of them is not later than this.
const LONGEST_SPREAD: Duration = Duration::from_secs(20);

impl Broker {
    /// Keeps the credentials of `registries` fresh for as long as it is polled, by each profile that a grant gives somebody for them.
    pub async fn keep_warm(self: Arc<Self>, registries: Vec<Registry>) {
        let count = u32::try_from(registries.len()).unwrap_or(u32::MAX);
        let spread = SPREAD.saturating_mul(count).min(LONGEST_SPREAD);
        join_all(registries.iter().map(|registry| async {
            sleep(spread.mul_f64(fastrand::f64())).await;
            self.warm(registry).await;
        }))
        .await;
        let mut tick = interval(INTERVAL);
        loop {
            tick.tick().await;
            for registry in &registries {
                self.warm(registry).await;
                sleep(SPREAD).await;
            }
        }
    }

    /// Waits for no answer of AWS's.
    async fn warm(&self, registry: &Registry) {
        for profile in self.profiles_for(registry) {
            let key = CredentialKey { registry: registry.clone(), profile, caller: None };
            self.cache.warm(key).await;
        }
    }

    /// By the grants that are in force now. A profile whose credentials are for one caller each has none that could be fetched before.
    fn profiles_for(&self, registry: &Registry) -> Vec<ProfileName> {
        let profiles = self.policy.load().policy.profiles_for(registry);
        let shared = |name: &ProfileName| self.profile(name).is_none_or(|profile| !profile.is_per_caller());
        let usable = |name: &ProfileName| shared(name) && self.check_account(registry, name).is_ok();
        profiles.into_iter().filter(usable).collect()
    }
}
