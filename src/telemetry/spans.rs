//! The export of spans to an OTLP collector.

use anyhow::anyhow;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanProcessor};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use super::environment::Spans;
use super::export::Export;
use super::failures::ExportFailures;
use super::http_client;
use super::metrics::Metrics;
use super::reported::reported;
use super::sampler::CallsAlreadySampled;
use crate::api::trace::{DrawnIds, Tracing};

/// The export of spans: those of `tracing`, and those of calls that are recorded without it.
#[derive(Debug, Clone)]
pub struct SpanExport {
    provider: SdkTracerProvider,
    sampler: Sampler,
}

impl SpanExport {
    /// Passes the spans that `sampler` selects to `processor`.
    #[must_use]
    pub fn new(processor: impl SpanProcessor + 'static, sampler: Sampler, resource: Resource) -> Self {
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(CallsAlreadySampled(sampler.clone()))
            .with_id_generator(DrawnIds::default())
            .with_resource(resource)
            .build();
        Self { provider, sampler }
    }

    /// Sends the spans in batches, as `spans` configures; `metrics` count those that are lost.
    pub(super) fn in_batches(spans: Spans, resource: Resource, metrics: &Metrics) -> anyhow::Result<Self> {
        let Spans { export, sampler, max_queue_size } = spans;
        let failures = ExportFailures::new(export.signal, export.collector.clone(), metrics.clone());
        Ok(Self::new(reported(exporter(&export)?, max_queue_size, failures), sampler, resource))
    }

    /// Returns what decides which calls are exported, and exports those that are recorded without `tracing`.
    #[must_use]
    pub fn tracing(&self) -> Tracing {
        Tracing::sampled_by(Box::new(self.sampler.clone()), self.tracer())
    }

    /// Returns the layer that exports the spans of `tracing`.
    #[must_use]
    pub fn layer<S>(&self) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.tracer())
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_level(false)
            .with_context_activation(false)
            // The spans are at INFO. Without the hint the libraries' own at TRACE would be looked at in each call.
            .with_filter(filter_fn(is_exported).with_max_level_hint(LevelFilter::INFO))
            .boxed()
    }

    /// Sends the pending spans. Blocks.
    pub(super) fn shutdown(&self) -> OTelSdkResult {
        self.provider.shutdown()
    }

    fn tracer(&self) -> SdkTracer {
        self.provider.tracer("ecr-broker")
    }
}

/// Returns the exporter, which reads its endpoint and headers itself. The SDK calls it on its own thread.
fn exporter(export: &Export) -> anyhow::Result<SpanExporter> {
    let builder = SpanExporter::builder();
    let exporter = if export.grpc {
        builder.with_tonic().with_timeout(export.timeout).with_tls_config(export.tls.for_grpc()).build()
    } else {
        let client = http_client::blocking(export)?;
        let builder = builder.with_http().with_protocol(Protocol::HttpBinary);
        builder.with_timeout(export.timeout).with_http_client(client).build()
    };
    exporter.map_err(without_value)
}

/// Returns an error with the name of the variable. The exporter's own error shows the value, and a URL can hold a password.
fn without_value(error: ExporterBuildError) -> anyhow::Error {
    match error {
        ExporterBuildError::InvalidConfiguration(text) => {
            let name = text.split_once(": ").map_or("OTEL_EXPORTER_OTLP_*", |(name, _)| name);
            anyhow!("{name}: the OTLP exporter cannot use the value; correct it")
        }
        other @ ExporterBuildError::InternalFailure(_) => anyhow::Error::new(other)
            .context("cannot create the OTLP exporter; check the OTEL_EXPORTER_OTLP_* variables"),
    }
}

/// Returns whether to export a span or event: only the broker's own recorded spans. Events may contain messages of AWS. Libraries make
/// spans too, dozens of them in the exporter's own client with every export.
fn is_exported(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && matches!(metadata.target(), "ecr_broker::rpc" | "ecr_broker::source")
}
