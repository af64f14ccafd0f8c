//! A batch processor of spans that reports every span it loses. The SDK's own loses spans in silence.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};

use super::failures::ExportFailures;

/// Returns a processor that sends spans in batches. At most `max_queue_size` wait; others are dropped.
pub(super) fn reported<E>(exporter: E, max_queue_size: usize, failures: ExportFailures) -> Bounded
where
    E: SpanExporter + 'static,
{
    let failures = Arc::new(failures);
    let waiting = Arc::new(AtomicUsize::new(0));
    let exporter = Reported { exporter, waiting: Arc::clone(&waiting), failures: Arc::clone(&failures) };
    let config = BatchConfigBuilder::default().with_max_queue_size(max_queue_size).build();
    let batches = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
    Bounded { batches, waiting, max_queue_size, failures }
}

/// Passes a span on if there is room. So the queue inside, which has the same size, never drops one.
#[derive(Debug)]
pub(super) struct Bounded {
    batches: BatchSpanProcessor,
    waiting: Arc<AtomicUsize>,
    max_queue_size: usize,
    failures: Arc<ExportFailures>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, parent: &Context) {
        self.batches.on_start(span, parent);
    }

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.max_queue_size {
            self.batches.on_end(span);
        } else {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.failures.queue_full();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Sends batches and reports how each ended.
#[derive(Debug)]
struct Reported<E> {
    exporter: E,
    waiting: Arc<AtomicUsize>,
    failures: Arc<ExportFailures>,
}

impl<E: SpanExporter> SpanExporter for Reported<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let result = self.exporter.export(batch).await;
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        match &result {
            Ok(()) => self.failures.succeeded(),
            Err(error) => self.failures.failed(u64::try_from(count).unwrap_or(u64::MAX), error),
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::super::collector::Collector;
    use super::super::metrics::{Metrics, Signal};
    use super::*;
    use crate::metrics::Registry;
    use crate::proxy::Proxies;

    /// An exporter that says when an export begins, and ends it when it may.
    #[derive(Debug)]
    struct Slow {
        started: SyncSender<usize>,
        may_end: Mutex<Receiver<()>>,
    }

    impl SpanExporter for Slow {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.started.send(batch.len()).expect("the test runs");
            self.may_end.lock().expect("not poisoned").recv().expect("the test runs");
            Ok(())
        }
    }

    #[test]
    fn spans_beyond_the_queue_are_counted_as_dropped() {
        let (started, begins) = sync_channel(8);
        let (end, may_end) = sync_channel(8);
        let mut registry = Registry::default();
        let (writer, _guard) = tracing_appender::non_blocking(std::io::sink());
        let metrics = Metrics::new(&mut registry, writer.error_counter());
        let url = "http://127.0.0.1:1".parse().expect("a URL");
        let collector = Collector::new(&url, true, &Proxies::default());
        let failures = ExportFailures::new(Signal::Traces, collector, metrics.clone());
        let exporter = Slow { started, may_end: Mutex::new(may_end) };
        let provider = SdkTracerProvider::builder().with_span_processor(reported(exporter, 4, failures)).build();
        let tracer = provider.tracer("test");
        let flush = |provider: &SdkTracerProvider| {
            let provider = provider.clone();
            std::thread::spawn(move || provider.force_flush())
        };

        let dropped = || metrics.otlp_dropped.with(Signal::Traces).get();
        drop(tracer.start("1"));
        let first = flush(&provider);
        assert_eq!(begins.recv(), Ok(1));
        // One is on its way, three may wait.
        for name in ["2", "3", "4", "5", "6"] {
            drop(tracer.start(name));
        }
        assert_eq!(dropped(), 2);
        end.send(()).expect("the exporter runs");
        first.join().expect("no panic").expect("flushed");
        let second = flush(&provider);
        assert_eq!(begins.recv(), Ok(3));
        end.send(()).expect("the exporter runs");
        second.join().expect("no panic").expect("flushed");
        assert_eq!(dropped(), 2);
    }
}
