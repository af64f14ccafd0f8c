//! Metrics of the watches on parents.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::delays::End;
use crate::metrics::{Counter, Family, Registry, labels};
use crate::source::push::Outcome;
use crate::sync::lock;

labels! {
    /// Why a watch ended or did not open.
    enum Cause: "cause" {
        /// The parent ended it in order.
        Orderly = "orderly",
        /// The parent is lost or unreachable.
        Lost = "lost",
        /// The parent refuses watches.
        Refused = "refused",
    }
}

/// Metrics of the watches on all parents. A clone is a handle of the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    pushes: Family<Outcome, Counter>,
    ends: Family<Cause, Counter>,
    figures: FiguresByParent,
}

/// The watches of each parent, by its name.
type FiguresByParent = Arc<Mutex<Vec<(Box<str>, Arc<Figures>)>>>;

/// The watches of one parent.
#[derive(Debug, Default)]
pub(super) struct Figures {
    keys: AtomicUsize,
    watches: AtomicUsize,
}

impl Metrics {
    /// Registers the metrics.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let figures = FiguresByParent::default();
        let exposed = Arc::clone(&figures);
        registry.on_scrape(move |scrape| {
            let figures = lock(&exposed).clone();
            let keys = figures.iter().map(|(name, it)| ([("parent", &**name)], count(&it.keys)));
            scrape.gauges("ecr_broker_parent_watched_keys", "Keys watched at a parent", keys)?;
            let watches = figures.iter().map(|(name, it)| ([("parent", &**name)], count(&it.watches)));
            scrape.gauges("ecr_broker_parent_watches", "Open watches at a parent", watches)
        });
        Self {
            pushes: registry.counters("ecr_broker_parent_pushes_total", "Updates that parents pushed"),
            ends: registry.counters("ecr_broker_parent_watch_ends_total", "Watches that ended or did not open"),
            figures,
        }
    }

    /// Returns the figures of a parent, which are exposed from now on.
    pub(super) fn figures_of(&self, name: &str) -> Arc<Figures> {
        let figures = Arc::<Figures>::default();
        lock(&self.figures).push((name.into(), Arc::clone(&figures)));
        figures
    }

    pub(super) fn pushed(&self, outcome: Outcome) {
        self.pushes.with(outcome).inc();
    }

    pub(super) fn ended(&self, end: End) {
        let cause = match end {
            End::Orderly => Cause::Orderly,
            End::Lost => Cause::Lost,
            End::Refused { .. } => Cause::Refused,
        };
        self.ends.with(cause).inc();
    }
}

impl Figures {
    pub(super) fn set(&self, keys: usize, watches: usize) {
        self.keys.store(keys, Ordering::Relaxed);
        self.watches.store(watches, Ordering::Relaxed);
    }
}

fn count(figure: &AtomicUsize) -> f64 {
    f64::from(u32::try_from(figure.load(Ordering::Relaxed)).unwrap_or(u32::MAX))
}
