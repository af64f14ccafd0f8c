//! Keep-warm: fetches listed registries at the start and refreshes them by time, not only on demand.
//!
//! After an idle night, their credentials are still fresh when an outage begins in the morning.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{interval, sleep};

use super::Broker;
use super::active_policy::ActivePolicy;
use super::profiles::Profiles;
use crate::credential::{CredentialKey, Lifetime, ProfileName};
use crate::jitter;
use crate::registry::Registry;

/// Interval of the checks for due refreshes.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// Delay between two registries, so that AWS does not get all calls at once.
///
/// At the start each registry waits for a random part of the sum of these delays: many brokers may start together, as after a power
/// cut.
const SPACING: Duration = Duration::from_millis(50);
/// Interval of the checks whether they are cached after the start.
const FILL_INTERVAL: Duration = Duration::from_millis(200);
/// Upper limit of that sum.
const MAX_START_DELAY: Duration = Duration::from_secs(20);

impl Broker {
    /// Keeps the credentials of `registries` fresh, for each profile with which a grant allows them to some caller. Never returns.
    pub async fn keep_warm(self: Arc<Self>, registries: Vec<Registry>) {
        let count = u32::try_from(registries.len()).unwrap_or(u32::MAX);
        let spread = SPACING.saturating_mul(count).min(MAX_START_DELAY);
        join_all(registries.iter().map(|registry| async {
            sleep(jitter::up_to(spread)).await;
            self.warm(registry).await;
        }))
        .await;
        let mut tick = interval(CHECK_INTERVAL);
        loop {
            tick.tick().await;
            for registry in &registries {
                self.warm(registry).await;
                sleep(SPACING).await;
            }
        }
    }

    /// Returns once the credentials of `registries` are cached.
    pub async fn until_warm(&self, registries: &[Registry]) {
        for registry in registries {
            for key in self.warm_keys(registry) {
                while !self.cache.has(&key).await {
                    sleep(FILL_INTERVAL).await;
                }
            }
        }
    }

    /// Starts the fetches and refreshes that are due, and does not wait for them.
    async fn warm(&self, registry: &Registry) {
        for key in self.warm_keys(registry) {
            self.cache.warm(key).await;
        }
    }

    fn warm_keys(&self, registry: &Registry) -> Vec<CredentialKey> {
        let active = self.authorizer.active_policy();
        let key = |minted| active.profiles().key_of(registry.clone(), minted);
        // Keys of single callers are left out, because the callers are not known in advance.
        let is_shared = |key: &CredentialKey| !self.authorizer.forwarding().is_by_caller(key);
        warm_credentials(&active, registry).into_iter().map(key).filter(is_shared).collect()
    }
}

/// Returns the profiles and lifetimes whose credentials for a registry are kept warm. Leaves out profiles with one credential per
/// caller.
fn warm_credentials(active: &ActivePolicy, registry: &Registry) -> Vec<(ProfileName, Option<Lifetime>)> {
    let profiles = active.profiles();
    let is_shared = |name: &ProfileName| profiles.find(name).is_none_or(|profile| !profile.is_per_caller());
    let has_account = |name: &ProfileName, lifetime: Option<Lifetime>| {
        profiles.check_account(registry, name).is_ok() && Profiles::check_lifetime(registry, lifetime).is_ok()
    };
    let minted = active.policy.credentials_for(registry).into_iter();
    minted.filter(|(name, lifetime)| is_shared(name) && has_account(name, *lifetime)).collect()
}
