//! The parts that a broker is built from, beside its configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::auth_material::AuthMaterial;
use crate::address::default_sockets;
use crate::api::trace::Tracing;
use crate::clock::Clock;
use crate::config::Sources;
use crate::descriptor_store;
use crate::follow_file::FilesInEffect;
use crate::metrics::Registry;
use crate::profile::ActiveProfiles;
use crate::registry::Region;
use crate::server::ActivatedSockets;
use crate::service_manager::ServiceManager;
use crate::source::CredentialSource;
use crate::source::broker::WatchDriver;

/// The parts of a broker.
#[derive(Debug)]
pub struct Parts {
    /// The clock of every part.
    pub clock: Arc<dyn Clock>,
    /// The source of credentials; none: AWS, as configured.
    pub upstream: Option<Upstream>,
    /// Certificates, keys and secrets.
    pub auth: AuthMaterial,
    /// Listening sockets from the environment.
    pub sockets: ActivatedSockets,
    /// Unix sockets to try, in this order, if no address is configured.
    pub default_sockets: Vec<PathBuf>,
    /// The spans that calls are recorded in.
    pub tracing: Tracing,
    /// The store of the cache's copy, if there may be one.
    pub descriptor_store: Option<descriptor_store::Parts>,
    /// The service manager that started the process, if one did.
    pub manager: ServiceManager,
    /// The metrics of what was built before.
    pub metrics: Registry,
    /// The files that are in effect.
    pub files: FilesInEffect,
    /// The profiles in effect; none: those of the configuration.
    pub profiles: Option<ActiveProfiles>,
    /// Fingerprint of the configuration; empty: it is not known.
    pub config_hash: String,
}

/// A source of credentials and what the broker must know of it.
#[derive(Debug)]
pub struct Upstream {
    /// The source.
    pub source: Arc<dyn CredentialSource>,
    /// The region of requests that name none.
    pub region: Option<Region>,
    /// Endpoints that replace AWS's own. None of them may be the broker itself.
    pub endpoints: Vec<String>,
    /// Addresses of parent brokers. None of them may be the broker itself.
    pub parent_addresses: Vec<String>,
    /// Watches on parent brokers, which run as long as the broker.
    pub watches: Vec<WatchDriver>,
}

impl Parts {
    /// Returns parts with AWS as the source, and no authentication material or sockets.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            upstream: None,
            auth: AuthMaterial::default(),
            sockets: ActivatedSockets::default(),
            default_sockets: Vec::new(),
            tracing: Tracing::default(),
            descriptor_store: None,
            manager: ServiceManager::default(),
            metrics: Registry::default(),
            files: FilesInEffect::default(),
            profiles: None,
            config_hash: String::new(),
        }
    }

    /// Adds the default sockets of the environment.
    pub(super) fn with_environment(self, sources: &Sources) -> Self {
        let runtime_dir = sources.environment.iter().find(|(name, _)| name == "XDG_RUNTIME_DIR");
        let default_sockets = default_sockets(runtime_dir.map(|(_, directory)| Path::new(directory)));
        Self { default_sockets, ..self }
    }
}
