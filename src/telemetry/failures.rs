//! Exports that fail: counted, and logged at most once a minute with the endpoint and the cause.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tracing::{info, warn};

use super::collector::Collector;
use super::metrics::{Metrics, Signal};
use crate::clock::{Clock, SystemClock};
use crate::log_throttle::LogThrottle;
use crate::quoted::Visible;

/// Longest text of the exporter's own error in the log.
const MAX_ERROR: usize = 300;

/// Records what no collector received.
#[derive(Debug)]
pub(super) struct ExportFailures {
    signal: Signal,
    collector: Collector,
    metrics: Metrics,
    clock: SystemClock,
    throttle: LogThrottle,
    /// Dropped since the last log line.
    dropped: AtomicU64,
    /// Whether a failure was logged since the last success.
    failing: AtomicBool,
}

impl ExportFailures {
    pub(super) fn new(signal: Signal, collector: Collector, metrics: Metrics) -> Self {
        Self {
            signal,
            collector,
            metrics,
            clock: SystemClock::new(),
            throttle: LogThrottle::default(),
            dropped: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        }
    }

    /// Records that `count` were dropped with an export. Looks at the collector before it logs, which blocks.
    pub(super) fn failed(&self, count: u64, error: &dyn Display) {
        let Some(dropped) = self.count(count) else { return };
        let cause = self.collector.diagnose();
        let of_library = || Visible(&error.to_string()).to_string().chars().take(MAX_ERROR).collect();
        self.log(dropped, &cause.unwrap_or_else(of_library));
    }

    /// Records that one was dropped because too many wait for their export. Does not block.
    pub(super) fn queue_full(&self) {
        if let Some(dropped) = self.count(1) {
            self.log(dropped, "the queue is full: exports are slower than calls; lower OTEL_TRACES_SAMPLER_ARG");
        }
    }

    /// Records that an export arrived.
    pub(super) fn succeeded(&self) {
        if self.failing.load(Ordering::Relaxed) && self.failing.swap(false, Ordering::Relaxed) {
            info!(signal = self.signal.text(), "OTLP export recovered");
        }
    }

    /// Counts drops, and returns those since the last log line if the next is due.
    fn count(&self, count: u64) -> Option<u64> {
        self.metrics.otlp_dropped.with(self.signal).add(count);
        self.dropped.fetch_add(count, Ordering::Relaxed);
        self.throttle.is_due(self.clock.now().steady).then(|| self.dropped.swap(0, Ordering::Relaxed))
    }

    fn log(&self, dropped: u64, cause: &str) {
        self.failing.store(true, Ordering::Relaxed);
        let (signal, protocol) = (self.signal.text(), self.collector.protocol());
        let proxy = self.collector.proxy().map(tracing::field::display);
        warn!(signal, endpoint = %self.collector, protocol, proxy, dropped, cause, "OTLP export failed");
    }
}
