//! Grants that change while the broker runs: its file is read again on SIGHUP, and when it has changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tracing::{error, info};

use crate::broker::Broker;
use crate::config::{Config, Sources};

/// How often it is looked whether the file has changed. Its text is compared, for Kubernetes swaps links and keeps times.
const INTERVAL: Duration = Duration::from_secs(5);

/// The text of the configuration's file when it was read last.
#[derive(Debug)]
pub(super) struct Read(Option<String>);

impl Read {
    /// To be made before the configuration is read: what changes in between is then read once too often, and not missed.
    pub(super) fn now(sources: &Sources) -> Self {
        Self(sources.file.as_ref().and_then(|file| std::fs::read_to_string(file).ok()))
    }
}

/// Puts the file's grants in force, whenever there are new ones; the other settings stay until the next start. A file with a mistake
/// in it changes nothing.
pub(super) async fn follow(broker: Arc<Broker>, sources: Sources, mut last: Read, mut hangup: Signal) {
    let mut tick = tokio::time::interval(INTERVAL);
    loop {
        let asked = tokio::select! {
            _ = hangup.recv() => true,
            _ = tick.tick() => false,
        };
        let now = Read::now(&sources);
        if asked || now.0 != last.0 {
            last = now;
            reload(&broker, &sources);
        }
    }
}

fn reload(broker: &Broker, sources: &Sources) {
    match Config::load(sources) {
        Ok(config) => {
            broker.set_policy(config.policy);
            info!("the configuration was read again, and its grants are in force");
        }
        Err(mistakes) => {
            for mistake in mistakes {
                error!(%mistake, "the configuration was read again and has a mistake; the old grants stay in force");
            }
        }
    }
}
