//! Logs to stderr, spans and metrics to OTLP collectors.
//!
//! Two rules hold under every configuration. First, libraries that print what passes through them are capped at INFO, and the AWS
//! SDK is silent: at TRACE it prints registry tokens, and its warnings hold whole responses. The broker logs itself what the SDK
//! reports. Second, log lines pass a writer that drops lines rather than waits: a stderr without a reader would otherwise stall
//! the whole server.

use anyhow::Context as _;
use tracing::warn;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::environment::Otlp;
use self::pushes::{Prepared, Pusher};
use self::resource::resource;
use crate::api::trace::Tracing;
use crate::config::Log;
use crate::metrics::{Exposition, Registry};

mod collector;
mod environment;
mod export;
mod failures;
mod http_client;
mod logs;
mod metrics;
mod push_client;
mod pushes;
mod reported;
mod resource;
mod sampler;
mod spans;
mod tls;
mod variables;

pub use self::metrics::{Metrics, Signal};
pub use self::spans::SpanExport;

/// Log lines that wait for a slow stderr; further ones are dropped. The library's default is 128,000: with some hundred bytes each,
/// they could take half of the memory of a broker.
const MAX_WAITING_LINES: usize = 16_384;

/// Running telemetry. Dropping it writes the pending log lines.
#[derive(Debug)]
pub struct Telemetry {
    spans: Option<SpanExport>,
    prepared: Option<Prepared>,
    pusher: Option<Pusher>,
    metrics: Metrics,
    _logs: WorkerGuard,
}

/// Starts logs, and the export of spans if the environment names an OTLP endpoint. Must be called inside the runtime.
///
/// # Errors
/// Fails if a log filter or an `OTEL_*` variable is invalid.
pub fn start(log: &Log, environment: &[(String, String)], registry: &mut Registry) -> anyhow::Result<Telemetry> {
    let writer = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_WAITING_LINES);
    let (writer, guard) = writer.finish(std::io::stderr());
    let metrics = Metrics::new(registry, writer.error_counter());
    let otlp = Otlp::from_environment(environment)?;
    let resource = resource(otlp.named);
    let spans = otlp.spans.map(|spans| SpanExport::in_batches(spans, resource.clone(), &metrics)).transpose()?;
    let prepared = otlp.pushes.as_ref().map(|pushes| Prepared::new(pushes, &resource, &metrics)).transpose()?;
    let export = spans.as_ref().map(SpanExport::layer);
    // A list: a layer that is `None` in an `Option` would enable everything, and every call would have a span.
    let layers: Vec<_> = std::iter::once(logs::layer(log, environment, writer)?).chain(export).collect();
    tracing_subscriber::registry().with(layers).try_init().context("telemetry is already running")?;
    Ok(Telemetry { spans, prepared, pusher: None, metrics, _logs: guard })
}

impl Telemetry {
    /// Returns what creates the spans of calls.
    #[must_use]
    pub fn tracing(&self) -> Tracing {
        self.spans.as_ref().map(SpanExport::tracing).unwrap_or_default()
    }

    /// Returns the metrics of what telemetry drops.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Starts the export of metrics if the environment asks for it. A second call has no effect.
    pub fn push_metrics(&mut self, exposition: Exposition) {
        if let Some(prepared) = self.prepared.take() {
            self.pusher = Some(prepared.start(exposition));
        }
    }

    /// Sends the pending spans, and the metrics once more. The SDK's shutdown blocks, so it must not run on a thread of the runtime.
    pub async fn flush(self) {
        let Self { spans, pusher, _logs, .. } = self;
        let spans = async {
            let Some(spans) = spans else { return };
            let done = tokio::task::spawn_blocking(move || spans.shutdown()).await;
            if let Ok(Err(error)) = done {
                warn!(%error, "span export failed");
            }
        };
        let metrics = async {
            if let Some(pusher) = pusher {
                pusher.finish().await;
            }
        };
        tokio::join!(spans, metrics);
    }
}
