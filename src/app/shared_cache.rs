//! The shared cache between the credential cache and AWS, if it is configured.

use std::sync::Arc;

use super::auth_material::AuthMaterial;
use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::Registry;
use crate::source::CredentialSource;
use crate::source::aws::{Aws, OwnIdentity};
use crate::source::shared_cache::key_ring::KeyRing;
use crate::source::shared_cache::valkey::Valkey;
use crate::source::shared_cache::{Metrics, SharedCache};

/// What the layer is made of.
#[derive(Debug)]
pub(super) struct Shared {
    servers: Arc<Valkey>,
    keys: Arc<KeyRing>,
    own: OwnIdentity,
    metrics: Metrics,
}

impl Shared {
    /// Starts to connect to the servers that the configuration names, and does not wait for them.
    pub(super) fn start(config: &Config, auth: &AuthMaterial, registry: &mut Registry) -> Option<Self> {
        let (settings, keys) = (config.shared_cache.as_ref()?, auth.shared_cache_keys.as_ref()?);
        let servers = Arc::new(Valkey::start(settings.server.clone(), registry));
        Arc::clone(&servers).expose(registry);
        Some(Self { servers, keys: keys.ring(), own: settings.own.clone(), metrics: Metrics::new(registry) })
    }

    /// Returns the servers, for the status.
    pub(super) fn servers(&self) -> Arc<Valkey> {
        Arc::clone(&self.servers)
    }

    /// Puts the layer around `source`, which calls AWS. It belongs above admission control: a broker that waits for the lease of another
    /// one takes no place in the queue.
    pub(super) fn layer<S: CredentialSource>(self, source: S, aws: &Aws, clock: &Arc<dyn Clock>) -> SharedCache<S> {
        let Self { servers, keys, own, metrics } = self;
        SharedCache::new(source, servers, keys, aws.answer_scope(own), Arc::clone(clock), metrics)
    }
}
