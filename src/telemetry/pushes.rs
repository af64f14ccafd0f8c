//! Pushes all metrics to an OTLP collector at an interval, and once more at the end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::environment::Pushes;
use super::failures::ExportFailures;
use super::metrics::Metrics;
use super::push_client::PushClient;
use crate::clock::{Clock, SystemClock};
use crate::metrics::{Covered, Exposition};

/// Time limit of the last export, which a shutdown waits for.
const LAST_PUSH: Duration = Duration::from_secs(5);
/// Time limit of the end: of the last export, and of the look at a collector that did not take it. The lookup of a name can block for
/// half a minute, and the service manager kills a broker that takes longer to exit than it said.
const FINISH: Duration = Duration::from_secs(8);

/// What pushes need, before there are metrics.
#[derive(Debug)]
pub(super) struct Prepared {
    interval: Duration,
    timeout: Duration,
    push: Push,
}

/// The task that pushes.
#[derive(Debug)]
pub(super) struct Pusher {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Pushes the metrics once. A clone is a handle of the same.
#[derive(Debug, Clone)]
struct Push {
    client: PushClient,
    resource: Resource,
    clock: SystemClock,
    started: SystemTime,
    failures: Arc<ExportFailures>,
}

impl Prepared {
    /// Prepares the export of the metrics of a process that starts now. Must be called inside the runtime.
    pub(super) fn new(
        pushes: &Pushes,
        resource: &opentelemetry_sdk::Resource,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let Pushes { export, interval } = pushes;
        let attributes = ResourceAttributesWithSchema::from(resource).attributes.0;
        let clock = SystemClock::new();
        let push = Push {
            client: PushClient::new(export)?,
            resource: Resource { attributes, ..Resource::default() },
            started: clock.now().wall,
            clock,
            failures: Arc::new(ExportFailures::new(export.signal, export.collector.clone(), metrics.clone())),
        };
        Ok(Self { interval: *interval, timeout: export.timeout, push })
    }

    /// Starts to push.
    pub(super) fn start(self, exposition: Exposition) -> Pusher {
        let stop = CancellationToken::new();
        let task = tokio::spawn(self.run(exposition, stop.clone()));
        Pusher { stop, task }
    }

    async fn run(self, exposition: Exposition, stop: CancellationToken) {
        let Self { interval, timeout, push } = self;
        let mut ticks = interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let pushes = async {
            loop {
                ticks.tick().await;
                push.once(&exposition, timeout).await;
            }
        };
        // A push that is running gives way to the last one, which has the same and more.
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = pushes => {}
        }
        push.once(&exposition, timeout.min(LAST_PUSH)).await;
    }
}

impl Pusher {
    /// Pushes once more, and waits for that, but not for long.
    pub(super) async fn finish(self) {
        self.stop.cancel();
        // A task that panicked has logged it.
        _ = timeout(FINISH, self.task).await;
    }
}

impl Push {
    async fn once(&self, exposition: &Exposition, limit: Duration) {
        let sent = timeout(limit, self.send(exposition.clone())).await;
        let problem = match sent {
            Ok(Ok(())) => return self.failures.succeeded(),
            Ok(Err(problem)) => problem,
            Err(_) => format!("no answer within {limit:?}"),
        };
        let failures = Arc::clone(&self.failures);
        // It looks at the collector, which blocks.
        _ = spawn_blocking(move || failures.failed(1, &problem)).await;
    }

    async fn send(&self, exposition: Exposition) -> Result<(), String> {
        let covered = Covered { start: self.started, end: self.clock.now().wall };
        let metrics = spawn_blocking(move || exposition.otlp(covered)).await;
        let metrics = metrics.map_err(|_| "a metric could not be read".to_owned())?;
        let scope = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
        let resource = Some(self.resource.clone());
        let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
        self.client.send(ExportMetricsServiceRequest { resource_metrics }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn end_does_not_wait_for_a_look_at_a_collector_that_blocks() {
        let stop = CancellationToken::new();
        let pusher = Pusher { stop: stop.clone(), task: tokio::spawn(std::future::pending()) };
        let start = Instant::now();
        pusher.finish().await;
        assert!(stop.is_cancelled());
        assert_eq!(start.elapsed(), FINISH);
    }
}
