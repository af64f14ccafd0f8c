//! All metrics as OTLP has them.
//!
//! The registry writes Prometheus' messages, whose types say what each figure is. Names, labels and texts stay as a scrape has them. OTLP
//! names a counter without `_total`, and a unit by UCUM.

use std::time::SystemTime;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum, number_data_point,
};
use prometheus_client::encoding::prometheus_protobuf;
use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model as prometheus;

use super::exposition::Exposition;

/// The time that cumulative figures cover.
#[derive(Debug, Clone, Copy)]
pub struct Covered {
    /// The start of the process.
    pub start: SystemTime,
    /// The time of the figures.
    pub end: SystemTime,
}

/// [`Covered`] in nanoseconds of Unix time.
#[derive(Debug, Clone, Copy)]
struct Nanos {
    start: u64,
    end: u64,
}

impl Exposition {
    /// Returns the present values of all metrics, which blocks as [`Self::encode`] does.
    #[must_use]
    pub fn otlp(&self, covered: Covered) -> Vec<Metric> {
        let nanos = Nanos { start: unix_nanos(covered.start), end: unix_nanos(covered.end) };
        // What a collector leaves out must not withhold the rest, but this encoder returns all or nothing, and it does not fail.
        let families = prometheus_protobuf::encode(&self.0).unwrap_or_default();
        families.into_iter().map(|family| metric(family, nanos)).collect()
    }
}

fn metric(family: prometheus::MetricFamily, nanos: Nanos) -> Metric {
    let kind = family.r#type();
    let prometheus::MetricFamily { name, help, unit, metric, .. } = family;
    let is_counter = kind == prometheus::MetricType::Counter;
    let name = if is_counter { name.strip_suffix("_total").unwrap_or(&name).to_owned() } else { name };
    let data = match kind {
        prometheus::MetricType::Counter => counters(metric, nanos),
        prometheus::MetricType::Histogram => histograms(metric, nanos),
        _ => gauges(metric, nanos),
    };
    Metric { name, description: help, unit: ucum(&unit).to_owned(), metadata: Vec::new(), data: Some(data) }
}

fn counters(metrics: Vec<prometheus::Metric>, nanos: Nanos) -> Data {
    let point = |metric: prometheus::Metric| {
        Some(NumberDataPoint {
            start_time_unix_nano: nanos.start,
            ..number(metric.counter?.value, metric.label, nanos)
        })
    };
    Data::Sum(Sum {
        data_points: metrics.into_iter().filter_map(point).collect(),
        aggregation_temporality: AggregationTemporality::Cumulative.into(),
        is_monotonic: true,
    })
}

fn gauges(metrics: Vec<prometheus::Metric>, nanos: Nanos) -> Data {
    let point = |metric: prometheus::Metric| Some(number(metric.gauge?.value, metric.label, nanos));
    Data::Gauge(Gauge { data_points: metrics.into_iter().filter_map(point).collect() })
}

fn histograms(metrics: Vec<prometheus::Metric>, nanos: Nanos) -> Data {
    let point = |metric: prometheus::Metric| Some(histogram(&metric.histogram?, metric.label, nanos));
    Data::Histogram(Histogram {
        data_points: metrics.into_iter().filter_map(point).collect(),
        aggregation_temporality: AggregationTemporality::Cumulative.into(),
    })
}

fn number(value: f64, labels: Vec<prometheus::LabelPair>, nanos: Nanos) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(labels),
        time_unix_nano: nanos.end,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

/// Each bucket of Prometheus counts those below it too; the last one has no bound in OTLP.
fn histogram(from: &prometheus::Histogram, labels: Vec<prometheus::LabelPair>, nanos: Nanos) -> HistogramDataPoint {
    let bounded = || from.bucket.iter().filter(|bucket| bucket.upper_bound.is_finite());
    let cumulative = bounded().map(|bucket| bucket.cumulative_count).chain([from.sample_count]);
    let below = [0].into_iter().chain(bounded().map(|bucket| bucket.cumulative_count));
    HistogramDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: nanos.start,
        time_unix_nano: nanos.end,
        count: from.sample_count,
        sum: Some(from.sample_sum),
        explicit_bounds: bounded().map(|bucket| bucket.upper_bound).collect(),
        bucket_counts: cumulative.zip(below).map(|(count, below)| count.saturating_sub(below)).collect(),
        ..HistogramDataPoint::default()
    }
}

fn attributes(labels: Vec<prometheus::LabelPair>) -> Vec<KeyValue> {
    let text = |value| AnyValue { value: Some(Value::StringValue(value)) };
    let attribute = |label: prometheus::LabelPair| KeyValue {
        key: label.name,
        value: Some(text(label.value)),
        ..KeyValue::default()
    };
    labels.into_iter().map(attribute).collect()
}

fn ucum(unit: &str) -> &str {
    match unit {
        "seconds" => "s",
        "bytes" => "By",
        other => other,
    }
}

fn unix_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::label::labels;
    use super::super::{Buckets, Registry};
    use super::*;

    labels! {
        enum Outcome: "outcome" { Hit = "hit", Miss = "miss" }
    }

    const START: u64 = 1_700_000_000_000_000_000;
    const END: u64 = START + 60_000_000_000;

    fn metrics() -> Vec<Metric> {
        let mut registry = Registry::default();
        let outcomes = registry.counters::<Outcome>("ecr_broker_credentials_total", "Credentials");
        outcomes.with(Outcome::Miss).add(3);
        outcomes.with(Outcome::Hit).add(0);
        let waits = registry.histogram("ecr_broker_wait_seconds", "Waits", Buckets::CALLS);
        for millis in [1, 2, 2, 20_000] {
            waits.observe(Duration::from_millis(millis));
        }
        registry.call_durations::<Outcome>("ecr_broker_unused_seconds", "Unused");
        registry.on_scrape(|scrape| {
            scrape.gauge("process_resident_memory_bytes", "Resident memory", 5_u64)?;
            scrape.counter("process_cpu_seconds_total", "CPU time", 1.5)?;
            scrape.gauges("ecr_broker_age_seconds", "Age", [([("issuer", "a\"b")], 0.25)])
        });
        let at = |nanos| SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
        Exposition::new(registry).otlp(Covered { start: at(START), end: at(END) })
    }

    fn find(name: &str) -> Metric {
        let metrics = metrics();
        let names: Vec<_> = metrics.iter().map(|metric| metric.name.clone()).collect();
        metrics.into_iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("{name} in {names:?}"))
    }

    fn labels_of(attributes: &[KeyValue]) -> Vec<(&str, &str)> {
        let text = |value: &KeyValue| match value.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Value::StringValue(text)) => text.clone(),
            other => panic!("{other:?}"),
        };
        attributes.iter().map(|one| (&*one.key, &*text(one).leak())).collect()
    }

    fn values(points: &[NumberDataPoint]) -> Vec<(u64, u64, f64)> {
        let value = |point: &NumberDataPoint| match point.value {
            Some(number_data_point::Value::AsDouble(value)) => value,
            other => panic!("{other:?}"),
        };
        points.iter().map(|point| (point.start_time_unix_nano, point.time_unix_nano, value(point))).collect()
    }

    #[test]
    fn counters_are_cumulative_sums_from_the_start_without_their_suffix() {
        let metric = find("ecr_broker_credentials");
        assert_eq!((&*metric.description, &*metric.unit), ("Credentials.", ""));
        let Some(Data::Sum(sum)) = metric.data else { panic!("{metric:?}") };
        assert!(sum.is_monotonic && sum.aggregation_temporality() == AggregationTemporality::Cumulative);
        assert_eq!(values(&sum.data_points), [(START, END, 0.0), (START, END, 3.0)]);
        assert_eq!(labels_of(&sum.data_points[1].attributes), [("outcome", "miss")]);
        let cpu = find("process_cpu_seconds");
        assert_eq!(cpu.unit, "s");
        let Some(Data::Sum(sum)) = cpu.data else { panic!("{cpu:?}") };
        assert_eq!(values(&sum.data_points), [(START, END, 1.5)]);
    }

    #[test]
    fn gauges_keep_names_and_labels_and_have_units_of_ucum() {
        let memory = find("process_resident_memory_bytes");
        assert_eq!(memory.unit, "By");
        let Some(Data::Gauge(gauge)) = memory.data else { panic!("{memory:?}") };
        assert_eq!(values(&gauge.data_points), [(0, END, 5.0)]);
        let Some(Data::Gauge(gauge)) = find("ecr_broker_age_seconds").data else { panic!() };
        assert_eq!(labels_of(&gauge.data_points[0].attributes), [("issuer", "a\"b")]);
    }

    #[test]
    fn histogram_buckets_count_for_themselves_and_the_last_has_no_bound() {
        let metric = find("ecr_broker_wait_seconds");
        assert_eq!(metric.unit, "s");
        let Some(Data::Histogram(histogram)) = metric.data else { panic!("{metric:?}") };
        assert_eq!(histogram.aggregation_temporality(), AggregationTemporality::Cumulative);
        let point = &histogram.data_points[0];
        assert_eq!((point.start_time_unix_nano, point.count, point.sum), (START, 4, Some(20.005)));
        assert_eq!(point.explicit_bounds.len(), 14);
        assert_eq!(point.explicit_bounds[..3], [0.000_5, 0.001, 0.002_5]);
        assert_eq!(point.bucket_counts, [0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!(metrics().iter().all(|metric| metric.name != "ecr_broker_unused_seconds"), "without an observation");
    }
}
