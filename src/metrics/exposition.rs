//! The text formats of all metrics.

use std::sync::Arc;

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry as client;

use super::registry::Registry;

/// Every metric, for whom it is exposed to. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub struct Exposition(pub(super) Arc<client::Registry>);

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Prometheus,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Exposition {
    /// Ends the registration.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self(Arc::new(registry.0))
    }

    /// Returns the present values of all metrics. With many cached keys this takes milliseconds: call it where it may block.
    #[must_use]
    pub fn encode(&self, format: Format) -> String {
        let mut output = String::new();
        // Writing to a string does not fail, and what a collector leaves out must not withhold the rest.
        _ = match format {
            Format::Prometheus => prometheus_text::encode(&mut output, &self.0),
            Format::OpenMetrics => text::encode(&mut output, &self.0),
        };
        output
    }
}

impl Format {
    /// Returns the media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Returns the format that an `Accept` header prefers: `OpenMetrics` if it is named, and not after the plain text.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let quality =
            |media_ranges: &[&str]| media_ranges.iter().find_map(|range| quality(accept, range)).unwrap_or(0.0);
        let open_metrics = quality(&["application/openmetrics-text"]);
        // The most specific range that includes a type decides about it.
        let is_preferred = open_metrics > 0.0 && open_metrics >= quality(&["text/plain", "text/*", "*/*"]);
        if is_preferred { Self::OpenMetrics } else { Self::Prometheus }
    }
}

/// Returns the quality of a media range in an `Accept` header that has it.
fn quality(accept: &str, media_range: &str) -> Option<f32> {
    let named = accept.split(',').filter_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let is_named = parts.next()?.eq_ignore_ascii_case(media_range);
        let quality = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().ok())?
        });
        is_named.then_some(quality.unwrap_or(1.0))
    });
    named.reduce(f32::max)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::label::labels;
    use super::super::{Buckets, Label as _};
    use super::*;

    labels! {
        enum Outcome: "outcome" { Hit = "hit", Miss = "miss" }
    }

    fn exposition() -> Exposition {
        let mut registry = Registry::default();
        let outcomes = registry.counters::<Outcome>("ecr_broker_credentials_total", "Credentials");
        outcomes.with(Outcome::Miss).add(3);
        registry.histogram("ecr_broker_wait_seconds", "Waits", Buckets::CALLS).observe(Duration::from_millis(1));
        registry.call_durations::<Outcome>("ecr_broker_unused_seconds", "Unused");
        registry.on_scrape(|scrape| {
            scrape.gauge("ecr_broker_entries", "Entries", 5_u64)?;
            scrape.gauge_if("ecr_broker_absent", "Absent", None::<u64>)?;
            scrape.counter("process_cpu_seconds_total", "CPU time", 1.5)?;
            scrape.gauges("ecr_broker_age_seconds", "Age", [([("issuer", "a\"b")], 0.25)])
        });
        Exposition::new(registry)
    }

    #[test]
    fn prometheus_text_names_counters_with_their_suffix() {
        let text = exposition().encode(Format::Prometheus);
        for line in [
            "# HELP ecr_broker_credentials_total Credentials.",
            "# TYPE ecr_broker_credentials_total counter",
            "ecr_broker_credentials_total{outcome=\"hit\"} 0",
            "ecr_broker_credentials_total{outcome=\"miss\"} 3",
            "# TYPE ecr_broker_wait_seconds histogram",
            "ecr_broker_wait_seconds_sum 0.001",
            "ecr_broker_wait_seconds_count 1",
            "ecr_broker_wait_seconds_bucket{le=\"0.0005\"} 0",
            "ecr_broker_wait_seconds_bucket{le=\"0.001\"} 1",
            "ecr_broker_wait_seconds_bucket{le=\"+Inf\"} 1",
            "# HELP ecr_broker_entries Entries.",
            "ecr_broker_entries 5",
            "# TYPE process_cpu_seconds_total counter",
            "process_cpu_seconds_total 1.5",
            "ecr_broker_age_seconds{issuer=\"a\\\"b\"} 0.25",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        assert!(!text.contains("EOF") && !text.contains("absent") && !text.contains("unused"), "{text}");
        assert_eq!(text.matches("wait_seconds_bucket").count(), 15, "{text}");
        assert_eq!(Outcome::Hit.index(), 0);
    }

    #[test]
    fn open_metrics_has_units_and_an_end() {
        let text = exposition().encode(Format::OpenMetrics);
        for line in [
            "# TYPE ecr_broker_credentials counter",
            "ecr_broker_credentials_total{outcome=\"miss\"} 3",
            "# UNIT ecr_broker_wait_seconds seconds",
            "ecr_broker_wait_seconds_bucket{le=\"+Inf\"} 1",
            "# UNIT process_cpu_seconds seconds",
            "process_cpu_seconds_total 1.5",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn open_metrics_is_sent_to_those_that_prefer_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::accepted("application/openmetrics-text"), Format::OpenMetrics);
        for plain in [
            "",
            "*/*",
            "text/plain",
            "text/html, */*;q=0.8",
            "application/openmetrics-text;q=0",
            "text/plain, application/openmetrics-text;q=0.9",
            "application/openmetrics-text; Q = 0.5, text/*;q=0.6",
            "application/openmetrics-text;q=0.5, */*",
        ] {
            assert_eq!(Format::accepted(plain), Format::Prometheus, "{plain}");
        }
        for open in [
            "application/openmetrics-text, */*",
            "APPLICATION/OPENMETRICS-TEXT;q=0.5, text/plain;q=0.1, */*",
            "text/plain;q=0.2, application/openmetrics-text;q=0.1, application/openmetrics-text;version=1.0.0;q=0.3",
        ] {
            assert_eq!(Format::accepted(open), Format::OpenMetrics, "{open}");
        }
    }
}
