//! Status of the broker: what it has cached, how its calls to AWS fare, and what it lacks.
//!
//! [`Status`] is the one model behind `GetStatus`, the status page and `/status.json`. Its fields are numbers, times, closed enums,
//! registry coordinates and profile names, so no secret and no caller can be in it (P10).

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;

use crate::audit::{AuditLog, AuditStatus};
use crate::broker::{Broker, RequestContext};
use crate::cache::{CredentialCache, KeyQuery, KeysStatus};
use crate::clock::Clock;
use crate::descriptor_store::{DescriptorStore, StoreStatus};
use crate::error::BrokerError;
use crate::follow_file::FilesInEffect;
use crate::limits::{ConnectionsStatus, Limits, LimitsStatus};
use crate::moment::Moment;
use crate::source::shared_cache::valkey::{NodeStatus, Valkey};
use crate::source::{RegionStatus, SourceStatus};

mod message;
mod query;
mod readiness;
mod reloads;

pub use self::query::{next_page_token, query};
pub(crate) use self::readiness::{Check, Readiness};
pub use self::reloads::{Reloads, ReloadsStatus};

/// Regions in one answer.
const MAX_REGIONS: usize = 100;

/// The state of the broker at one time.
#[derive(Debug, Clone)]
pub struct Status {
    /// Time of the broker's clock.
    pub time: SystemTime,
    /// Start of the broker.
    pub started: SystemTime,
    /// Time since the start.
    pub uptime: Duration,
    /// Fingerprint of the active grants and profiles.
    pub policy: Fingerprint,
    /// Fingerprint of the configuration in effect, if it is known.
    pub configuration: Option<Fingerprint>,
    /// Expiry of the broker's AWS credentials, if it is known.
    pub identity_expires: Option<SystemTime>,
    /// How the broker decides requests.
    pub mode: PolicyMode,
    /// Whether `/readyz` reports that the broker is ready.
    pub ready: bool,
    /// Conditions that hold now.
    pub checks: [(CheckName, bool); 6],
    /// Callers that wait for fetches.
    pub waiting: usize,
    /// The keys that were asked for.
    pub keys: KeysStatus,
    /// The query that they answer.
    pub query: KeyQuery,
    /// Calls to AWS by region.
    pub regions: Vec<RegionStatus>,
    /// Open connections of callers.
    pub connections: ConnectionsStatus,
    /// Limits that all callers share.
    pub limits: LimitsStatus,
    /// Reloads of the configuration.
    pub reloads: ReloadsStatus,
    /// The audit log, if there is one.
    pub audit: Option<AuditStatus>,
    /// The copy of the cache that outlives a restart, if there is one.
    pub descriptor_store: Option<StoreStatus>,
    /// The servers of the shared cache; none: nothing is shared.
    pub shared_cache: Vec<NodeStatus>,
}

impl Status {
    /// Returns the number of keys of a region that are not fetched before their failure backoff ends.
    #[must_use]
    pub fn backoffs(&self, region: &RegionStatus) -> usize {
        self.keys.backoffs.get(&region.region).copied().unwrap_or_default()
    }
}

/// The version of the broker.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that the broker was built from.
pub const COMMIT: &str = env!("ECR_BROKER_COMMIT");

/// A digest of grants or of the configuration, which metrics and audit records have, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Returns the fingerprint of a test.
    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Returns the digest in hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How the broker decides requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyMode {
    /// No grants are configured.
    Open,
    /// Grants decide.
    Enforce,
    /// Grants are observed.
    Observe,
}

/// A condition under which the broker serves all callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckName {
    /// Every configuration file is in effect.
    Configuration,
    /// The broker has AWS credentials.
    Identity,
    /// The broker can answer callers.
    Serving,
    /// The audit log accepts records.
    Audit,
    /// `cache.keep_warm` was filled once, or took too long.
    KeepWarm,
    /// The broker is not shutting down.
    Running,
}

/// The parts of the broker that the status is gathered from.
#[derive(Debug)]
pub struct Parts {
    /// The readiness.
    pub(crate) readiness: Readiness,
    /// The credential cache.
    pub cache: CredentialCache,
    /// The broker.
    pub broker: Arc<Broker>,
    /// The limits.
    pub limits: Limits,
    /// The audit log.
    pub audit: Option<AuditLog>,
    /// The store of the cache's copy.
    pub descriptor_store: Option<DescriptorStore>,
    /// The shared cache.
    pub shared_cache: Option<Arc<Valkey>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The files that are in effect.
    pub files: FilesInEffect,
}

/// Gathers the status. A clone gathers it from the same parts.
#[derive(Debug, Clone)]
pub struct StatusReporter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parts: Parts,
    started: Moment,
    reloads: Reloads,
    connections: OnceLock<Connections>,
    configuration: OnceLock<Configuration>,
    /// Locked while one status is gathered, so that a flood of requests takes the time of one.
    gathering: Mutex<()>,
}

/// Counts the open connections, once the server runs.
type Connections = Late<ConnectionsStatus>;

/// Returns the fingerprint of the configuration, once it is known.
type Configuration = Late<String>;

/// A function of a part that is built after the reporter.
struct Late<T>(Box<dyn Fn() -> T + Send + Sync>);

impl<T> std::fmt::Debug for Late<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Late")
    }
}

impl StatusReporter {
    /// Returns a reporter of a broker that starts now.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let reloads = Reloads::new(Arc::clone(&parts.clock), parts.files.clone());
        let started = parts.clock.now();
        Self(Arc::new(Inner {
            parts,
            started,
            reloads,
            connections: OnceLock::new(),
            configuration: OnceLock::new(),
            gathering: Mutex::default(),
        }))
    }

    /// Sets the function that counts open connections.
    pub fn count_connections_by(&self, count: impl Fn() -> ConnectionsStatus + Send + Sync + 'static) {
        _ = self.0.connections.set(Late(Box::new(count)));
    }

    /// Sets the function that returns the fingerprint of the configuration in effect.
    pub fn show_configuration_of(&self, fingerprint: impl Fn() -> String + Send + Sync + 'static) {
        _ = self.0.configuration.set(Late(Box::new(fingerprint)));
    }

    /// Returns the record of reloads.
    #[must_use]
    pub fn reloads(&self) -> &Reloads {
        &self.0.reloads
    }

    /// Checks that the caller of a request may read the status.
    ///
    /// # Errors
    /// If it is not an operator, which is recorded.
    pub async fn authorize(&self, context: &RequestContext) -> Result<(), BrokerError> {
        self.0.parts.broker.authorize_operator(context).await
    }

    /// Gathers the status, with the keys that `query` asks for.
    pub async fn status(&self, query: KeyQuery) -> Status {
        let _gathering = self.0.gathering.lock().await;
        let Inner { parts, started, reloads, connections, configuration, .. } = &*self.0;
        let Parts { readiness, cache, broker, limits, audit, descriptor_store, shared_cache, clock, .. } = parts;
        let now = clock.now();
        let audit = audit.as_ref().map(AuditLog::status);
        let mut regions = cache.regions();
        regions.truncate(MAX_REGIONS);
        Status {
            time: now.wall,
            started: started.wall,
            uptime: now.steady.saturating_sub(started.steady),
            policy: Fingerprint(broker.policy_name()),
            configuration: configuration.get().map(|of| Fingerprint(of.0())),
            identity_expires: cache.identity_expires(),
            mode: mode(broker),
            ready: readiness.is_ready(),
            checks: [
                (CheckName::Running, !readiness.is_draining()),
                (CheckName::Configuration, reloads.are_files_in_effect()),
                (CheckName::Identity, cache.source_status() == SourceStatus::Ready),
                (CheckName::Serving, cache.can_serve()),
                (CheckName::KeepWarm, readiness.is_warm()),
                (CheckName::Audit, !audit.is_some_and(|audit| audit.is_failing)),
            ],
            waiting: cache.waiting(),
            keys: cache.keys(&query).await,
            query,
            regions,
            connections: connections.get().map(|count| count.0()).unwrap_or_default(),
            limits: limits.status(),
            reloads: reloads.status(),
            audit,
            descriptor_store: descriptor_store.as_ref().map(DescriptorStore::status),
            shared_cache: shared_cache.as_ref().map(|servers| servers.nodes()).unwrap_or_default(),
        }
    }
}

fn mode(broker: &Broker) -> PolicyMode {
    if broker.is_open() {
        PolicyMode::Open
    } else if broker.is_observing() {
        PolicyMode::Observe
    } else {
        PolicyMode::Enforce
    }
}
