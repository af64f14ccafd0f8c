//! The export of spans to an OTLP collector.

use anyhow::anyhow;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use super::environment::Otlp;
use super::failures::ExportFailures;
use super::metrics::{Metrics, Signal};
use super::reported::reported;
use super::sampler::CallsAlreadySampled;

/// Returns the provider that batches spans and sends them; `metrics` count those that are lost.
pub(super) fn provider(otlp: &Otlp, metrics: &Metrics) -> anyhow::Result<SdkTracerProvider> {
    let exporter = if otlp.grpc {
        SpanExporter::builder().with_tonic().build()
    } else {
        SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build()
    };
    let failures = ExportFailures::new(Signal::Traces, otlp.collector.clone(), metrics.clone());
    let processor = reported(exporter.map_err(without_value)?, otlp.max_queue_size, failures);
    Ok(SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_sampler(CallsAlreadySampled(otlp.sampler.clone()))
        .with_resource(resource(otlp))
        .build())
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

/// Returns the layer that records spans for the provider.
pub(super) fn layer<S>(provider: &SdkTracerProvider) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("ecr-broker"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_level(false)
        .with_context_activation(false)
        .with_filter(filter_fn(is_exported))
        .boxed()
}

/// Returns whether to export a span or event: only the broker's own recorded spans. Events may contain messages of AWS. Libraries make
/// spans too, dozens of them in the exporter's own client with every export.
fn is_exported(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && matches!(metadata.target(), "ecr_broker::rpc" | "ecr_broker::source")
}

fn resource(otlp: &Otlp) -> Resource {
    let resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if otlp.names_service { resource } else { resource.with_service_name("ecr-broker") }.build()
}
