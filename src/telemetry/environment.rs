//! The standard variables of OpenTelemetry that the SDK does not read itself.
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>)

use anyhow::{anyhow, bail};
use opentelemetry_sdk::trace::Sampler;

use super::collector::Collector;

/// Settings of the span export. The exporter itself reads endpoints, headers and timeouts.
#[derive(Debug, Clone)]
pub(super) struct Otlp {
    /// Whether to export over gRPC rather than HTTP.
    pub(super) grpc: bool,
    pub(super) sampler: Sampler,
    /// Whether the environment names the service.
    pub(super) names_service: bool,
    /// Where spans are sent, for log lines; none if the endpoint is not an HTTP URL.
    pub(super) collector: Option<Collector>,
    /// Number of spans that may wait for their export.
    pub(super) max_queue_size: usize,
}

/// Default of `OTEL_BSP_MAX_QUEUE_SIZE`.
const MAX_QUEUE_SIZE: usize = 2048;

impl Otlp {
    /// Reads the variables; `None` if no endpoint is set, or if the export is off.
    pub(super) fn from_environment(environment: &[(String, String)]) -> anyhow::Result<Option<Self>> {
        let get = |name| variable(environment, name);
        let endpoint = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| get("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let disabled = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let Some(endpoint) = endpoint.filter(|_| !disabled && get("OTEL_TRACES_EXPORTER") != Some("none")) else {
            return Ok(None);
        };
        let protocol = get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| get("OTEL_EXPORTER_OTLP_PROTOCOL"));
        let attributes = get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let grpc = is_grpc(protocol, endpoint)?;
        Ok(Some(Self {
            grpc,
            sampler: sampler(get("OTEL_TRACES_SAMPLER"), get("OTEL_TRACES_SAMPLER_ARG"))?,
            names_service: get("OTEL_SERVICE_NAME").is_some() || attributes.contains("service.name="),
            collector: Collector::of(endpoint, grpc),
            max_queue_size: queue_size(get("OTEL_BSP_MAX_QUEUE_SIZE"))?,
        }))
    }
}

/// Returns a variable that is set and not empty.
pub(super) fn variable<'a>(environment: &'a [(String, String)], name: &str) -> Option<&'a str> {
    environment.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
}

/// Returns whether to export over gRPC. The standard's default is HTTP, but port 4317 is gRPC by the same standard, and many operators
/// set that port without a protocol.
fn is_grpc(protocol: Option<&str>, endpoint: &str) -> anyhow::Result<bool> {
    match protocol {
        Some("grpc") => Ok(true),
        Some("http/protobuf") => Ok(false),
        Some(other) => bail!("OTEL_EXPORTER_OTLP_PROTOCOL: unknown protocol {other:?}; use grpc or http/protobuf"),
        None => Ok(endpoint.trim_end_matches('/').ends_with(":4317")),
    }
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
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> anyhow::Result<Option<Otlp>> {
        let owned: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Otlp::from_environment(&owned)
    }

    #[test]
    fn export_is_off_without_an_endpoint_and_when_disabled() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        assert!(read(&[]).expect("valid").is_none());
        assert!(read(&[endpoint]).expect("valid").is_some());
        assert!(read(&[endpoint, ("OTEL_SDK_DISABLED", "true")]).expect("valid").is_none());
        assert!(read(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]).expect("valid").is_none());
    }

    #[test]
    fn protocol_is_read_from_the_variable_or_the_port() {
        for (endpoint, protocol, grpc) in [
            ("http://c:4318", "", false),
            ("http://c:4317", "", true),
            ("http://c:4317/", "", true),
            ("http://c:4317", "http/protobuf", false),
            ("http://c:4318", "grpc", true),
        ] {
            let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
            assert_eq!(read(&variables).expect("valid").expect("on").grpc, grpc, "{endpoint} {protocol}");
        }
    }

    #[test]
    fn invalid_variables_are_rejected() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        for wrong in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ] {
            let sampler = ("OTEL_TRACES_SAMPLER", "traceidratio");
            let variables =
                if wrong.0 == "OTEL_TRACES_SAMPLER" { vec![endpoint, wrong] } else { vec![endpoint, sampler, wrong] };
            assert!(read(&variables).is_err(), "{wrong:?}");
        }
    }
}
