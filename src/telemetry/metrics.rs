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
    /// Returns the name of the signal, as paths of OTLP have it.
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use tracing_appender::non_blocking::NonBlockingBuilder;

    use super::*;
    use crate::metrics::{Exposition, Format};

    /// A writer that tells of each line, and waits until it may write it.
    struct Stuck(Sender<()>, Receiver<()>);

    impl io::Write for Stuck {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            _ = self.0.send(());
            _ = self.1.recv();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn log_lines_beyond_the_buffer_are_counted() {
        let ((started, starts), (may_end, ends)) = (channel(), channel());
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(2);
        let (mut writer, guard) = builder.finish(Stuck(started, ends));
        let mut registry = Registry::default();
        let _metrics = Metrics::new(&mut registry, writer.error_counter());
        let exposition = Exposition::new(registry);
        let mut log = || io::Write::write_all(&mut writer, b"line\n").expect("a lossy writer does not fail");
        log();
        starts.recv().expect("the first line is being written");
        (0..5).for_each(|_| log());
        let text = exposition.encode(Format::Prometheus);
        assert!(text.contains("\necr_broker_log_lines_dropped_total 3\n"), "two wait: {text}");
        drop(may_end);
        drop(guard);
    }
}
