//! The registry that modules register their metrics with.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry as client;

use super::counter::Counter;
use super::family::Family;
use super::histogram::{Buckets, Histogram};
use super::label::Labels;
use super::scrape::{Name, Scrape};

/// Every metric of the program, while it is built.
#[derive(Debug, Default)]
pub struct Registry(pub(super) client::Registry);

impl Registry {
    /// Registers a counter.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> Counter {
        let counter = Counter::default();
        self.register(name, help, counter.clone());
        counter
    }

    /// Registers counters by labels; each combination is exposed from the start.
    pub fn counters<L: Labels>(&mut self, name: &'static str, help: &'static str) -> Family<L, Counter> {
        let family = Family::new(MetricType::Counter, Counter::default).with_all();
        self.register(name, help, family.clone());
        family
    }

    /// Registers a histogram.
    pub fn histogram(&mut self, name: &'static str, help: &'static str, buckets: Buckets) -> Histogram {
        let histogram = Histogram::new(buckets);
        self.register(name, help, histogram.clone());
        histogram
    }

    /// Registers histograms of calls by labels; each combination is exposed once it was observed.
    pub fn call_durations<L: Labels>(&mut self, name: &'static str, help: &'static str) -> Family<L, Histogram> {
        let family = Family::new(MetricType::Histogram, || Histogram::new(Buckets::CALLS));
        self.register(name, help, family.clone());
        family
    }

    /// Calls `collect` at each scrape, for what a module knows without being asked to count it.
    ///
    /// It may run on any thread at any time: it must not wait, and must hold a lock only as briefly as a call would.
    pub fn on_scrape(&mut self, collect: impl Fn(&mut Scrape<'_>) -> fmt::Result + Send + Sync + 'static) {
        self.0.register_collector(Box::new(OnScrape(collect)));
    }

    fn register(&mut self, name: &'static str, help: &'static str, metric: impl client::Metric) {
        match Name::of(name, metric.metric_type()) {
            Name { stem, unit: Some(unit) } => self.0.register_with_unit(stem, help, unit, metric),
            Name { stem, unit: None } => self.0.register(stem, help, metric),
        }
    }
}

struct OnScrape<F>(F);

impl<F> fmt::Debug for OnScrape<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnScrape")
    }
}

impl<F: Fn(&mut Scrape<'_>) -> fmt::Result + Send + Sync + 'static> Collector for OnScrape<F> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)(&mut Scrape::new(encoder))
    }
}
