//! Metrics of the calls to sources.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use super::failure_labels::failure_labels;
use super::{CredentialSource, FetchError, RegionStatus};
use crate::credential::CredentialKey;
use crate::error::SourceName;
use crate::metrics::{Family, Histogram, Label as _, Registry, Scrape, labels, region_label};
use crate::registry;

labels! {
    /// The source of a call.
    enum Source: "source" { Aws = "aws", Parent = "parent", SharedCache = "shared_cache" }
}

labels! {
    /// The called service.
    pub(super) enum Service: "service" {
        Ecr = "ecr",
        EcrPublic = "ecr_public",
        Sts = "sts",
        Signin = "signin",
    }
}

failure_labels! {
    /// How a call ended.
    pub(super) enum CallResult: "result" { Ok = "ok", Refused = "refused" }
}

/// Metrics of the calls to sources. A clone is a handle of the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    durations: Family<(Source, (Service, CallResult)), Histogram>,
}

/// A call in flight. Dropping it records its duration.
#[derive(Debug)]
pub(super) struct Call<'a> {
    metrics: &'a Metrics,
    labels: (Source, Service),
    started: Instant,
    result: CallResult,
}

impl Metrics {
    /// Registers the metrics.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let help = "Duration of calls to sources, retries one by one";
        Self { durations: registry.call_durations("ecr_broker_upstream_call_duration_seconds", help) }
    }

    /// Begins a call. One that is given up counts as unavailable.
    pub(super) fn begin(&self, source: &SourceName, service: Service) -> Call<'_> {
        let (labels, started) = ((source.into(), service), Instant::now());
        Call { metrics: self, labels, started, result: CallResult::Unavailable }
    }
}

impl Call<'_> {
    /// Ends the call.
    pub(super) fn end(mut self, result: CallResult) {
        self.result = result;
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let (source, service) = self.labels;
        self.metrics.durations.with((source, (service, self.result))).observe(self.started.elapsed());
    }
}

impl Service {
    /// Returns the service that returns a credential.
    pub(super) fn of(key: &CredentialKey) -> Self {
        match &key.registry {
            registry::Registry::Private(_) if key.lifetime.is_some() => Self::Signin,
            registry::Registry::Private(_) => Self::Ecr,
            registry::Registry::Public { .. } => Self::EcrPublic,
        }
    }
}

impl CallResult {
    pub(super) fn of<T>(result: &Result<T, FetchError>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(FetchError::Upstream(failure)) => failure.class.into(),
            // A source below has a queue, which is full.
            Err(FetchError::QueueFull { .. }) => Self::Throttled,
            // A parent refused the request itself.
            Err(FetchError::OfRequest(_)) => Self::Refused,
        }
    }
}

impl From<&SourceName> for Source {
    fn from(name: &SourceName) -> Self {
        match name {
            SourceName::Aws => Self::Aws,
            SourceName::Parent(_) => Self::Parent,
            SourceName::SharedCache => Self::SharedCache,
        }
    }
}

/// Exposes the state of the calls of `source` in each region.
pub fn expose_regions(source: Arc<dyn CredentialSource>, registry: &mut Registry) {
    registry.on_scrape(move |scrape| {
        let mut regions = BTreeMap::new();
        for region in source.regions() {
            let source = Source::VALUES[Source::from(&region.source).index()];
            let of_label = regions.entry((source, region_label(region.region.as_ref())));
            of_label.and_modify(|sum| add(sum, &region)).or_insert(region);
        }
        expose(scrape, &regions)
    });
}

/// The labels of a source and a region.
type SourceAndRegion = (&'static str, &'static str);

/// Adds a region with the same label: the worst interval and retry budget count.
fn add(sum: &mut RegionStatus, other: &RegionStatus) {
    sum.in_flight += other.in_flight;
    sum.queued += other.queued;
    sum.limit += other.limit;
    sum.interval = sum.interval.max(other.interval);
    sum.retries_left = sum.retries_left.min(other.retries_left);
}

fn expose(scrape: &mut Scrape<'_>, regions: &BTreeMap<SourceAndRegion, RegionStatus>) -> fmt::Result {
    let gauges = |scrape: &mut Scrape<'_>, name, help, figure: fn(&RegionStatus) -> f64| {
        let labels = |(source, region)| [("source", source), ("region", region)];
        scrape.gauges(name, help, regions.iter().map(|(region, status)| (labels(*region), figure(status))))
    };
    gauges(scrape, "ecr_broker_upstream_in_flight", "Calls in flight", |it| of_count(it.in_flight))?;
    gauges(scrape, "ecr_broker_upstream_queued", "Fetches that wait for a call", |it| of_count(it.queued))?;
    gauges(scrape, "ecr_broker_upstream_limit", "Calls that may be in flight now", |it| of_count(it.limit))?;
    let interval = "Time between the starts of two calls after throttling; 0: not paced";
    gauges(scrape, "ecr_broker_upstream_interval_seconds", interval, |it| it.interval.as_secs_f64())?;
    let budget = "Retries that may be made now";
    gauges(scrape, "ecr_broker_upstream_retry_budget", budget, |it| f64::from(it.retries_left))
}

fn of_count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
