//! The fingerprint of the configuration in effect, for the log and as a metric.

use std::sync::{Arc, Mutex};

use crate::config::{Sources, fingerprint};
use crate::metrics::Registry;
use crate::sync::lock;

/// The fingerprint of the configuration in effect. A clone is a handle of the same.
#[derive(Debug, Clone)]
pub(in crate::app) struct ConfigInfo(Arc<Mutex<String>>);

impl ConfigInfo {
    /// Exposes the fingerprint of `sources`, which are in effect.
    pub(in crate::app) fn new(sources: &Sources, registry: &mut Registry) -> Self {
        let active = Arc::new(Mutex::new(fingerprint(sources)));
        let shown = Arc::clone(&active);
        registry.on_scrape(move |scrape| {
            let help = "The configuration in effect by its hash, always 1";
            scrape.gauges("ecr_broker_config_info", help, [([("hash", lock(&shown).clone())], 1_u64)])
        });
        Self(active)
    }

    /// Returns the fingerprint.
    pub(in crate::app) fn hash(&self) -> String {
        lock(&self.0).clone()
    }

    /// Sets the sources that are in effect now, and returns their fingerprint.
    pub(super) fn update(&self, sources: &Sources) -> String {
        let hash = fingerprint(sources);
        (*lock(&self.0)).clone_from(&hash);
        hash
    }
}
