//! The standard variables of OpenTelemetry that the SDK does not read itself.
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>)

use std::time::Duration;

use anyhow::{anyhow, bail};
use opentelemetry_sdk::trace::Sampler;

use super::export::Export;
use super::metrics::Signal;
use super::variables::Variables;

/// Settings of the exports.
#[derive(Debug, Default)]
pub(super) struct Otlp {
    /// The export of spans, if it is on.
    pub(super) spans: Option<Spans>,
    /// The export of metrics, if it is on.
    pub(super) pushes: Option<Pushes>,
    pub(super) named: Named,
}

/// The attributes of the resource that the environment has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Named {
    /// Whether it names the service.
    pub(super) service: bool,
    /// Whether it names the instance.
    pub(super) instance: bool,
}

/// Settings of the span export. The exporter itself reads endpoints and headers.
#[derive(Debug)]
pub(super) struct Spans {
    pub(super) export: Export,
    pub(super) sampler: Sampler,
    /// Number of spans that may wait for their export.
    pub(super) max_queue_size: usize,
}

/// Settings of the export of metrics.
#[derive(Debug)]
pub(super) struct Pushes {
    pub(super) export: Export,
    /// Time between two exports.
    pub(super) interval: Duration,
}

/// Default of `OTEL_BSP_MAX_QUEUE_SIZE`.
const MAX_QUEUE_SIZE: usize = 2048;
/// Default of `OTEL_METRIC_EXPORT_INTERVAL`.
const PUSH_INTERVAL: Duration = Duration::from_mins(1);

impl Otlp {
    /// Reads the variables.
    pub(super) fn from_environment(environment: &[(String, String)]) -> anyhow::Result<Self> {
        let variables = Variables::new(environment);
        if variables.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(Self::default());
        }
        Ok(Self { spans: spans(&variables)?, pushes: pushes(&variables)?, named: named(&variables) })
    }
}

fn named(variables: &Variables<'_>) -> Named {
    let attributes = variables.get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let has = |name| attributes.split(',').filter_map(|item| item.split_once('=')).any(|(key, _)| key.trim() == name);
    Named {
        service: variables.get("OTEL_SERVICE_NAME").is_some() || has("service.name"),
        instance: has("service.instance.id"),
    }
}

/// Returns nothing if no endpoint is set, or if the export is off.
fn spans(variables: &Variables<'_>) -> anyhow::Result<Option<Spans>> {
    let endpoint = variables.of_signal(Signal::Traces, "ENDPOINT");
    if endpoint.is_none() || variables.get("OTEL_TRACES_EXPORTER") == Some("none") {
        return Ok(None);
    }
    Ok(Some(Spans {
        export: Export::read(Signal::Traces, variables)?,
        sampler: sampler(variables.get("OTEL_TRACES_SAMPLER"), variables.get("OTEL_TRACES_SAMPLER_ARG"))?,
        max_queue_size: queue_size(variables.get("OTEL_BSP_MAX_QUEUE_SIZE"))?,
    }))
}

/// Returns nothing unless the environment asks for metrics by name. An endpoint of all signals is not enough, because programs that
/// receive only spans refuse metrics.
fn pushes(variables: &Variables<'_>) -> anyhow::Result<Option<Pushes>> {
    let named = variables.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT").is_some();
    match variables.get("OTEL_METRICS_EXPORTER") {
        Some("none") => return Ok(None),
        None if !named => return Ok(None),
        None | Some("otlp") => {}
        Some("prometheus") => {
            bail!("OTEL_METRICS_EXPORTER: prometheus is not supported; set server.ops_listen and scrape its /metrics")
        }
        Some(other) => bail!("OTEL_METRICS_EXPORTER: unknown exporter {other:?}; use otlp or none"),
    }
    if let Some(preference) = variables.get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE")
        && !preference.eq_ignore_ascii_case("cumulative")
    {
        bail!("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: {preference:?} is not supported; use cumulative");
    }
    let interval = variables.millis("OTEL_METRIC_EXPORT_INTERVAL", 100..=86_400_000)?.unwrap_or(PUSH_INTERVAL);
    Ok(Some(Pushes { export: Export::read(Signal::Metrics, variables)?, interval }))
}

fn sampler(name: Option<&str>, argument: Option<&str>) -> anyhow::Result<Sampler> {
    let ratio = || ratio(argument).map(Sampler::TraceIdRatioBased);
    let by_parent = |root| Sampler::ParentBased(Box::new(root));
    Ok(match name.unwrap_or("parentbased_always_on") {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => ratio()?,
        "parentbased_always_on" => by_parent(Sampler::AlwaysOn),
        "parentbased_always_off" => by_parent(Sampler::AlwaysOff),
        "parentbased_traceidratio" => by_parent(ratio()?),
        other => bail!(
            "OTEL_TRACES_SAMPLER: unknown sampler {other:?}; use always_on, always_off, traceidratio or parentbased_ with one of \
             them"
        ),
    })
}

fn queue_size(value: Option<&str>) -> anyhow::Result<usize> {
    let Some(value) = value else { return Ok(MAX_QUEUE_SIZE) };
    let size = value.parse().ok().filter(|size| (1..=1_000_000).contains(size));
    size.ok_or_else(|| anyhow!("OTEL_BSP_MAX_QUEUE_SIZE: expected a number from 1 to 1000000, got {value:?}"))
}

fn ratio(argument: Option<&str>) -> anyhow::Result<f64> {
    let argument = argument.unwrap_or("1");
    let ratio = argument.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| anyhow!("OTEL_TRACES_SAMPLER_ARG: expected a number from 0 to 1, got {argument:?}"))
}

#[cfg(test)]
mod tests;
