use super::*;

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
const METRICS: (&str, &str) = ("OTEL_METRICS_EXPORTER", "otlp");

fn read(variables: &[(&str, &str)]) -> anyhow::Result<Otlp> {
    let owned: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Otlp::from_environment(&owned)
}

fn problem(variables: &[(&str, &str)]) -> String {
    read(variables).expect_err("refused").to_string()
}

#[test]
fn spans_are_exported_to_an_endpoint_unless_disabled() {
    let is_on = |variables: &[(&str, &str)]| read(variables).expect("valid").spans.is_some();
    assert!(!is_on(&[]));
    assert!(is_on(&[ENDPOINT]));
    assert!(is_on(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4318/v1/traces")]));
    assert!(!is_on(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://c:4318/v1/metrics")]));
    assert!(!is_on(&[ENDPOINT, ("OTEL_SDK_DISABLED", "true")]));
    assert!(!is_on(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]));
}

#[test]
fn metrics_are_exported_only_if_asked_for_by_name() {
    let is_on = |variables: &[(&str, &str)]| read(variables).expect("valid").pushes.is_some();
    let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://c:4318/v1/metrics");
    assert!(!is_on(&[]) && !is_on(&[ENDPOINT]));
    assert!(is_on(&[METRICS]) && is_on(&[own]) && is_on(&[ENDPOINT, METRICS]));
    for variables in [[own, ("OTEL_METRICS_EXPORTER", "none")], [own, ("OTEL_SDK_DISABLED", "TRUE")]] {
        assert!(!is_on(&variables), "{variables:?}");
    }
    assert!(!is_on(&[("OTEL_METRICS_EXPORTER", "prometheus"), ("OTEL_SDK_DISABLED", "true")]));
}

#[test]
fn resource_attributes_name_the_service_or_the_instance() {
    let named = |variable| {
        let Named { service, instance } = read(&[variable]).expect("valid").named;
        (service, instance)
    };
    assert_eq!(named(("OTEL_SERVICE_NAME", "b")), (true, false));
    for (attributes, expected) in [
        ("a=b, service.name=c", (true, false)),
        ("service.instance.id=d,a=b", (false, true)),
        ("peer.service.name=e,service.instance.idea=f", (false, false)),
    ] {
        assert_eq!(named(("OTEL_RESOURCE_ATTRIBUTES", attributes)), expected, "{attributes}");
    }
}

#[test]
fn other_exporters_of_metrics_and_other_temporalities_are_refused() {
    let preference = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
    assert!(problem(&[("OTEL_METRICS_EXPORTER", "prometheus")]).contains("server.ops_listen"));
    assert!(problem(&[("OTEL_METRICS_EXPORTER", "console")]).contains("use otlp or none"));
    for other in ["delta", "Delta", "lowmemory"] {
        assert!(problem(&[METRICS, (preference, other)]).ends_with("use cumulative"), "{other}");
        assert!(read(&[ENDPOINT, (preference, other)]).is_ok(), "no metrics are exported");
    }
    assert!(read(&[METRICS, (preference, "Cumulative")]).is_ok());
}

#[test]
fn export_interval_is_a_minute_or_as_set() {
    let interval = |variables: &[(&str, &str)]| read(variables).expect("valid").pushes.expect("on").interval;
    assert_eq!(interval(&[METRICS]), Duration::from_mins(1));
    assert_eq!(interval(&[METRICS, ("OTEL_METRIC_EXPORT_INTERVAL", "15000")]), Duration::from_secs(15));
}

#[test]
fn invalid_variables_are_rejected() {
    for wrong in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
    ] {
        let sampler = ("OTEL_TRACES_SAMPLER", "traceidratio");
        let others = if wrong.0 == sampler.0 { vec![ENDPOINT, METRICS] } else { vec![ENDPOINT, METRICS, sampler] };
        assert!(problem(&[others, vec![wrong]].concat()).starts_with(wrong.0), "{wrong:?}");
    }
}
