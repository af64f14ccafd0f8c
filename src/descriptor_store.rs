//! Sealed copy of the cache in the service manager's file descriptor store, which outlives the process (P15).
//!
//! A restart, a crash or an upgrade during an outage of AWS then costs nothing. Two files in memory have no path and never touch a disk:
//! the copy, encrypted, and its key. systemd keeps descriptors of both and passes them to the next process. Outside systemd there is no
//! store.
//!
//! The copy is written in the background after the cache has changed, so a hit costs nothing. On the way back each credential is checked,
//! and enters the cache as a fetched one does: its release is authorized and audited as ever.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::{info, warn};
use zeroize::Zeroizing;

use self::metrics::Metrics;
use self::slots::{Slots, Unreadable};
use crate::cache::CredentialCache;
use crate::clock::Clock;
use crate::inherited;
use crate::log_throttle::LogThrottle;
use crate::metrics::Registry;
use crate::profile::ActiveProfiles;
use crate::seal::{KeyBytes, SealError, SealingKey};
use crate::service_manager::ServiceManager;
use crate::sync::lock;

mod contents;
mod encoding;
mod fingerprint;
mod memfd;
mod metrics;
mod restore;
mod slots;

pub use self::fingerprint::Fingerprint;
pub use self::metrics::{StoreStatus, Written};

/// Name of the copy's descriptor. The service manager keeps and returns descriptors by name.
pub const COPY_NAME: &str = "ecr-broker-credentials";
/// Name of the key's descriptor.
pub const KEY_NAME: &str = "ecr-broker-key";
/// Minimum time between two writes. Fetches meanwhile share the next one.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// Time between two writes as a multiple of the time that one takes: a large cache takes a twentieth of a core.
const PAUSE_FACTOR: u32 = 20;
/// Minimum size of the contents, for the fingerprint that they begin with.
const MIN_BYTES: usize = 1024;

/// What the service manager returned of the store of an earlier process.
#[derive(Debug, Default)]
pub struct Inherited {
    /// The file with [`COPY_NAME`].
    pub copy: Option<File>,
    /// The file with [`KEY_NAME`].
    pub key: Option<File>,
}

/// Settings of the store.
#[derive(Debug)]
pub struct Settings {
    /// Memory of both slots; zero: no store.
    pub memory: u64,
    /// Fingerprint of the AWS settings.
    pub aws: Fingerprint,
    /// The profiles other than that of the broker's own identity.
    pub profiles: ActiveProfiles,
}

/// The store of a process.
#[derive(Debug)]
pub struct Parts {
    /// What an earlier process left.
    pub inherited: Inherited,
    /// The service manager that keeps descriptors, if there is one.
    pub manager: ServiceManager,
    /// The settings.
    pub settings: Settings,
}

/// The open store. A clone is a handle of the same.
#[derive(Debug, Clone)]
pub struct DescriptorStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    slots: Mutex<Slots>,
    max_bytes: usize,
    aws: Fingerprint,
    profiles: ActiveProfiles,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    failed: LogThrottle,
    full: LogThrottle,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("only one of its two descriptors was returned")]
    Incomplete,
    #[error("its key is not readable")]
    NoKey,
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl Inherited {
    /// Takes the files of the store from what the service manager passed.
    pub fn take(inherited: &mut inherited::Inherited) -> Self {
        let [copy, key] = [COPY_NAME, KEY_NAME].map(|name| inherited.take_named(name).map(File::from));
        Self { copy, key }
    }

    fn is_empty(&self) -> bool {
        self.copy.is_none() && self.key.is_none()
    }

    /// Opens what an earlier process left.
    fn open(self) -> Result<(Slots, Zeroizing<Vec<u8>>), OpenError> {
        let (Some(copy), Some(key)) = (self.copy, self.key) else { return Err(OpenError::Incomplete) };
        let key = memfd::read_key(&key).ok_or(OpenError::NoKey)?;
        Ok(Slots::open(copy, SealingKey::new(&key)?)?)
    }
}

impl DescriptorStore {
    /// Opens the store that an earlier process left, fills the cache from it, or begins a new one. Returns `None` without a service
    /// manager that keeps it, or if the settings turn it off. A store that fails is logged, and the broker goes on without.
    pub async fn start(
        parts: Option<Parts>,
        cache: &CredentialCache,
        clock: &Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Option<Self> {
        let metrics = Metrics::new(registry);
        let Parts { inherited, manager, settings } = parts?;
        if !manager.is_present() {
            return None;
        }
        if !manager.is_of_root() {
            info!("service manager not used: every process of its user could read the credentials that it keeps");
            return None;
        }
        let max_bytes = slot_bytes(settings.memory);
        if settings.memory == 0 {
            if !inherited.is_empty() {
                forget(&manager);
            }
            return None;
        }
        let (slots, contents) = match Self::open(inherited, &manager) {
            Ok(opened) => opened,
            Err(error) => {
                warn!(%error, "credentials not kept over a restart: the descriptor store cannot be used");
                return None;
            }
        };
        let store = Self(Arc::new(Inner {
            slots: Mutex::new(slots),
            max_bytes,
            aws: settings.aws,
            profiles: settings.profiles,
            clock: Arc::clone(clock),
            metrics,
            failed: LogThrottle::default(),
            full: LogThrottle::default(),
        }));
        if let Some(contents) = contents {
            store.restore(&contents, cache).await;
        }
        Some(store)
    }

    /// Opens the store that an earlier process left, with its contents. One that cannot be read is replaced.
    fn open(inherited: Inherited, manager: &ServiceManager) -> anyhow::Result<(Slots, Option<Zeroizing<Vec<u8>>>)> {
        if !inherited.is_empty() {
            match inherited.open() {
                Ok((slots, contents)) => return Ok((slots, Some(contents))),
                Err(reason) => info!(%reason, "descriptor store replaced"),
            }
            forget(manager);
        }
        let (copy, key) = (memfd::create(COPY_NAME)?, memfd::create(KEY_NAME)?);
        let bytes = KeyBytes::random()?;
        memfd::write_key(&key, &bytes)?;
        manager.keep(COPY_NAME, copy.as_fd())?;
        manager.keep(KEY_NAME, key.as_fd())?;
        Ok((Slots::new(copy, SealingKey::new(&bytes)?), None))
    }

    /// Returns the state of the store.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        self.0.metrics.status()
    }

    /// Writes the copy whenever the cache has changed, for as long as it is polled.
    pub async fn follow(self, cache: CredentialCache) {
        loop {
            cache.changed().await;
            let start = self.0.clock.now().steady;
            self.write(&cache).await;
            let took = self.0.clock.now().steady.saturating_sub(start);
            tokio::time::sleep(MIN_PAUSE.max(took * PAUSE_FACTOR)).await;
        }
    }

    /// Writes the copy, on a thread that may block.
    pub async fn write(&self, cache: &CredentialCache) {
        let (store, cache) = (self.clone(), cache.clone());
        // A panic is logged by its place.
        _ = tokio::task::spawn_blocking(move || store.write_now(&cache)).await;
    }

    fn write_now(&self, cache: &CredentialCache) {
        let Inner { slots, max_bytes, clock, metrics, failed, full, .. } = &*self.0;
        // Before the credentials are read: the last write has the last ones.
        let mut slots = lock(slots);
        let kept = cache.kept();
        let (contents, count) = contents::encode(&self.0.fingerprints(), &kept, *max_bytes);
        let bytes = contents.len();
        let written = slots.write(contents);
        drop(slots);
        let now = clock.now();
        let left_out = kept.len() - count;
        if left_out > 0 && full.is_due(now.steady) {
            warn!(written = count, left_out, "descriptor store full: a restart loses the least used credentials");
        }
        match written {
            Ok(()) => metrics.written(Written { time: now.wall, credentials: count, bytes }),
            Err(error) => {
                metrics.write_failed();
                if failed.is_due(now.steady) {
                    warn!(%error, "descriptor store not written: a restart loses the credentials since the last write");
                }
            }
        }
    }
}

/// Has the manager close the files of the store.
fn forget(manager: &ServiceManager) {
    for name in [COPY_NAME, KEY_NAME] {
        manager.forget(name);
    }
}

/// Returns the size of the contents of one of two slots.
fn slot_bytes(memory: u64) -> usize {
    usize::try_from(memory / 2).unwrap_or(usize::MAX).saturating_sub(slots::OVERHEAD).max(MIN_BYTES)
}
