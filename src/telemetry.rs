//! Logs to stderr, spans to an OTLP collector.
//!
//! Two rules hold under every configuration. First, libraries that print what passes through them are capped at INFO, and the AWS
//! SDK is silent: at TRACE it prints registry tokens, and its warnings hold whole responses. The broker logs itself what the SDK
//! reports. Second, log lines pass a writer that drops lines rather than waits: a stderr without a reader would otherwise stall
//! the whole server.

use anyhow::Context as _;
use opentelemetry_sdk::trace::{SdkTracerProvider, ShouldSample};
use tracing::warn;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::environment::Otlp;
use crate::config::Log;
use crate::metrics::Registry;

mod collector;
mod environment;
mod failures;
mod logs;
mod metrics;
mod reported;
mod sampler;
mod spans;

pub use self::metrics::{Metrics, Signal};

/// Log lines that wait for a slow stderr; further ones are dropped. The library's default is 128,000: with some hundred bytes each,
/// they could take half of the memory of a broker.
const MAX_WAITING_LINES: usize = 16_384;

/// Running telemetry. Dropping it writes the pending log lines.
#[derive(Debug)]
pub struct Telemetry {
    otlp: Option<Otlp>,
    provider: Option<SdkTracerProvider>,
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
    let provider = otlp.as_ref().map(|otlp| spans::provider(otlp, &metrics)).transpose()?;
    let export = provider.as_ref().map(spans::layer);
    // A list: a layer that is `None` in an `Option` would enable everything, and every call would have a span.
    let layers: Vec<_> = std::iter::once(logs::layer(log, environment, writer)?).chain(export).collect();
    tracing_subscriber::registry().with(layers).try_init().context("telemetry is already running")?;
    Ok(Telemetry { otlp, provider, metrics, _logs: guard })
}

impl Telemetry {
    /// Returns the sampler that decides which calls are exported; none if spans are not exported.
    #[must_use]
    pub fn sampler(&self) -> Option<Box<dyn ShouldSample>> {
        self.otlp.as_ref().map(|otlp| Box::new(otlp.sampler.clone()) as Box<dyn ShouldSample>)
    }

    /// Returns the metrics of what telemetry drops.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Sends the pending spans. The SDK's shutdown blocks, so it must not run on a thread of the runtime.
    pub async fn flush(self) {
        let Some(provider) = self.provider.clone() else { return };
        let done = tokio::task::spawn_blocking(move || provider.shutdown()).await;
        if let Ok(Err(error)) = done {
            warn!(%error, "span export failed");
        }
    }
}
