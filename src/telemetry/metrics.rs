//! Metrics of telemetry itself: what it drops.

use tracing_appender::non_blocking::ErrorCounter;

use crate::metrics::{Counter, Family, Label, Registry, labels};

labels! {
    /// What an OTLP collector receives.
    pub enum Signal: "signal" {
        /// Spans.
        Traces = "traces",
        /// Metrics.
        Metrics = "metrics",
    }
}

impl Signal {
    /// Returns the name of the signal.
    #[must_use]
    pub fn text(self) -> &'static str {
        Self::VALUES[Label::index(self)]
    }
}

/// Metrics of telemetry.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Spans and metric exports that no collector received.
    pub otlp_dropped: Family<Signal, Counter>,
}

impl Metrics {
    /// Registers the metrics; `log_lines` counts the lines that the log writer dropped.
    pub(super) fn new(registry: &mut Registry, log_lines: ErrorCounter) -> Self {
        registry.on_scrape(move |scrape| {
            let dropped = u64::try_from(log_lines.dropped_lines()).unwrap_or(u64::MAX);
            scrape.counter("ecr_broker_log_lines_dropped_total", "Log lines dropped because stderr was slow", dropped)
        });
        let help = "Spans, or exports of metrics, that no OTLP collector received";
        Self { otlp_dropped: registry.counters("ecr_broker_otlp_dropped_total", help) }
    }
}
