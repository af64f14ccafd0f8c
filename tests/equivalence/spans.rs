//! The spans of a broker's calls, without IDs and times.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ecr_broker::api::trace::Tracing;
use ecr_broker::telemetry::SpanExport;
use opentelemetry::Value;
use opentelemetry::trace::{SpanId, SpanKind};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, Span, SpanData, SpanProcessor};
use tokio::runtime::Builder;
use tracing_subscriber::layer::SubscriberExt as _;

/// The spans of the calls that one broker's threads serve.
#[derive(Debug, Clone)]
pub struct Spans {
    export: SpanExport,
    ended: Ended,
}

#[derive(Debug, Clone, Default)]
struct Ended(Arc<Mutex<EndedSpans>>);

#[derive(Debug, Default)]
struct EndedSpans {
    count: usize,
    untaken: Vec<SpanData>,
}

/// Keeps the spans of calls. When those of fetches end cannot be seen.
impl SpanProcessor for Ended {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_kind == SpanKind::Server {
            let mut spans = self.0.lock().unwrap();
            spans.count += 1;
            spans.untaken.push(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Spans {
    /// Exports the spans of the threads of a runtime, as the program exports those of all threads.
    pub fn of_threads(runtime: &mut Builder) -> Self {
        let ended = Ended::default();
        let export = SpanExport::new(ended.clone(), Sampler::AlwaysOn, Resource::builder_empty().build());
        let subscriber = tracing::Dispatch::new(tracing_subscriber::registry().with(export.layer()));
        runtime.on_thread_start(move || {
            // For as long as the thread lasts.
            std::mem::forget(tracing::dispatcher::set_default(&subscriber));
        });
        Self { export, ended }
    }

    pub fn tracing(&self) -> Tracing {
        self.export.tracing()
    }

    /// Returns the number of calls whose span has ended.
    pub fn ended(&self) -> usize {
        self.ended.0.lock().unwrap().count
    }

    /// Returns the new spans sorted: calls at once race.
    pub fn take(&self) -> Vec<String> {
        let spans = std::mem::take(&mut self.ended.0.lock().unwrap().untaken);
        let mut texts: Vec<_> = spans.iter().map(text).collect();
        texts.sort();
        texts
    }
}

/// Returns all of a span but the IDs that are its own, and its times.
fn text(span: &SpanData) -> String {
    let is_root = span.parent_span_id == SpanId::INVALID;
    let trace = span.span_context.trace_id().to_string();
    let attribute = |it: &opentelemetry::KeyValue| match (it.key.as_str(), it.value.to_string()) {
        ("request_id", id) if id.len() == 32 => "request_id=ID".to_owned(),
        ("trace_id", id) if is_root && id == trace => "trace_id=TRACE".to_owned(),
        // Whose memory a text is in does not matter.
        _ if matches!(it.value, Value::String(_)) => format!("{}={:?}", it.key, it.value.as_str()),
        _ => format!("{}={:?}", it.key, it.value),
    };
    let attributes: Vec<_> = span.attributes.iter().map(attribute).collect();
    let (context, parent) = (&span.span_context, (span.parent_span_id, span.parent_span_is_remote));
    let context = (context.trace_flags(), context.trace_state(), context.is_remote());
    let (events, links) = (&span.events, span.links.iter().map(|link| &link.attributes).collect::<Vec<_>>());
    let dropped = (span.dropped_attributes_count, events.dropped_count, span.links.dropped_count);
    let scope = &span.instrumentation_scope;
    let events = &events.events;
    format!(
        "span {} {:?} {attributes:?} {parent:?} {context:?} {:?} {events:?} {links:?} {dropped:?} {scope:?}",
        span.name, span.span_kind, span.status
    )
}
