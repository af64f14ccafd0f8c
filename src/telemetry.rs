//! Logs to stderr, spans to an OTLP collector.
//!
//! Two rules hold whatever is configured. Libraries that print what passes through them are capped at INFO, and the AWS SDK is
//! silent: at TRACE it prints registry tokens, and its warnings hold whole answers; what it has to say is in our own lines. And logs go through a writer that drops lines rather than wait: a stderr that
//! nobody reads once stalled the whole server.

use std::io::IsTerminal as _;

use anyhow::{Context as _, anyhow};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Metadata, Subscriber, warn};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt};

use self::environment::Otlp;
use self::sampler::DecidedAtTheEdge;
use crate::api::grpc::trace::Tracing;

mod environment;
mod sampler;

/// Whose lines are none at all.
const SILENT: &str = "aws_";
/// Whose lines are capped at INFO.
const CAPPED: [&str; 8] =
    ["h2", "hyper", "opentelemetry", "reqwest", "rustls", "tonic", "tower", "ecr_broker::simulator"];

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Directives in the form of `RUST_LOG`.
    pub filter: String,
    /// JSON lines rather than text; `None`: text on a terminal.
    pub json: Option<bool>,
    /// The environment, for the `OTEL_*` variables and `RUST_LOG`.
    pub environment: Vec<(String, String)>,
}

/// Running telemetry. What it still holds is written when it is flushed or dropped.
#[derive(Debug)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
    _logs: WorkerGuard,
}

/// Starts logs and, where an OTLP endpoint is configured, the export of spans. Must be called inside the runtime.
///
/// # Errors
/// Where a filter or an `OTEL_*` variable cannot be understood.
pub fn start(settings: &Settings) -> anyhow::Result<(Telemetry, Tracing)> {
    let (writer, logs) = NonBlockingBuilder::default().lossy(true).finish(std::io::stderr());
    let otlp = Otlp::from_environment(&settings.environment)?;
    let provider = otlp.as_ref().map(provider).transpose()?;
    let export = provider.as_ref().map(|provider| {
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("ecr-broker"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_level(false)
            .with_context_activation(false)
            .with_filter(filter_fn(is_exported));
        layer.boxed()
    });
    // A list, for an `Option` that is `None` would be a layer that wants everything: every call would have a span.
    let layers: Vec<_> = std::iter::once(lines(settings, writer)?).chain(export).collect();
    tracing_subscriber::registry().with(layers).try_init().context("telemetry was started before")?;
    let tracing = otlp.map(|otlp| Tracing::sampled_by(Box::new(otlp.sampler))).unwrap_or_default();
    Ok((Telemetry { provider, _logs: logs }, tracing))
}

impl Telemetry {
    /// Sends what is not sent yet. The SDK's shutdown blocks, so it must not run on the runtime's own threads.
    pub async fn flush(self) {
        let Some(provider) = self.provider.clone() else { return };
        let done = tokio::task::spawn_blocking(move || provider.shutdown()).await;
        if let Ok(Err(error)) = done {
            warn!(%error, "spans could not be sent");
        }
    }
}

/// The layer of log lines.
fn lines<S, W>(settings: &Settings, writer: W) -> anyhow::Result<Box<dyn Layer<S> + Send + Sync>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let (name, directives) = match environment::variable(&settings.environment, "RUST_LOG") {
        Some(directives) => ("RUST_LOG", directives),
        None => ("log.filter", settings.filter.as_str()),
    };
    let filter = EnvFilter::builder().parse(directives).map_err(|error| anyhow!("{name}: {error}"))?;
    let filter = filter.and(filter_fn(is_within_cap));
    let terminal = std::io::stderr().is_terminal();
    let layer = fmt::layer().with_writer(writer);
    Ok(if settings.json.unwrap_or(!terminal) {
        layer.json().flatten_event(true).with_current_span(false).with_span_list(true).with_filter(filter).boxed()
    } else {
        layer.with_ansi(terminal).with_filter(filter).boxed()
    })
}

/// Whatever the filter says.
fn is_within_cap(metadata: &Metadata<'_>) -> bool {
    if metadata.target().starts_with(SILENT) {
        return false;
    }
    *metadata.level() <= Level::INFO || !CAPPED.iter().any(|target| metadata.target().starts_with(target))
}

/// Our own spans of what is recorded, and nothing else: no events, for they hold what AWS said, and nobody else's spans, for the exporter's own
/// client makes dozens of them with every export.
fn is_exported(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && matches!(metadata.target(), "ecr_broker::rpc" | "ecr_broker::source")
}

fn provider(otlp: &Otlp) -> anyhow::Result<SdkTracerProvider> {
    let exporter = if otlp.grpc {
        SpanExporter::builder().with_tonic().build()
    } else {
        SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build()
    };
    let exporter = exporter.context("the OTLP exporter cannot be made; check the OTEL_EXPORTER_OTLP_* variables")?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(DecidedAtTheEdge(otlp.sampler.clone()))
        .with_resource(resource(otlp))
        .build())
}

fn resource(otlp: &Otlp) -> Resource {
    let resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if otlp.names_service { resource } else { resource.with_service_name("ecr-broker") }.build()
}

#[cfg(test)]
mod tests;
