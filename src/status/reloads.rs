//! Record of the reloads of the configuration.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crate::clock::Clock;
use crate::follow_file::FilesInEffect;
use crate::metrics::Registry;
use crate::sync::lock;

/// Counts reloads. A clone is a handle of the same counts.
#[derive(Debug, Clone)]
pub struct Reloads {
    clock: Arc<dyn Clock>,
    files: FilesInEffect,
    status: Arc<Mutex<ReloadsStatus>>,
}

/// The reloads since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReloadsStatus {
    /// Reloads after which every file was in effect.
    pub succeeded: u64,
    /// Reloads after which a file kept its last valid contents.
    pub failed: u64,
    /// The last reload, and whether it succeeded.
    pub last: Option<(SystemTime, bool)>,
}

impl Reloads {
    pub(super) fn new(clock: Arc<dyn Clock>, files: FilesInEffect) -> Self {
        Self { clock, files, status: Arc::default() }
    }

    /// Exposes the counts, and the last reload.
    pub fn register(&self, registry: &mut Registry) {
        let reloads = self.clone();
        registry.on_scrape(move |scrape| {
            let status = reloads.status();
            let counts = [("success", status.succeeded), ("failure", status.failed)];
            let counts = counts.map(|(result, count)| ([("result", result)], count));
            scrape.counters("ecr_broker_reloads_total", "Reloads of the configuration", counts)?;
            let help = "Whether every file of the configuration, of TLS and of keys is in effect, 1 or 0";
            let in_effect = u64::from(reloads.are_files_in_effect());
            scrape.gauge("ecr_broker_config_last_reload_successful", help, in_effect)?;
            let time = status.last.map(|(time, _)| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
            let (help, seconds) = ("Time of the last reload, in Unix time", time.as_ref().map(Duration::as_secs_f64));
            scrape.gauge_if("ecr_broker_config_last_reload_timestamp_seconds", help, seconds)
        });
    }

    /// Counts a reload.
    pub fn record(&self, is_in_effect: bool) {
        let mut status = lock(&self.status);
        let counter = if is_in_effect { &mut status.succeeded } else { &mut status.failed };
        *counter += 1;
        status.last = Some((self.clock.now().wall, is_in_effect));
    }

    /// Returns whether every file of the configuration, of TLS and of keys is in effect. The broker starts only if all are.
    pub(crate) fn are_files_in_effect(&self) -> bool {
        self.files.are_all()
    }

    pub(super) fn status(&self) -> ReloadsStatus {
        *lock(&self.status)
    }
}
