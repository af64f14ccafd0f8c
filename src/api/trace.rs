//! Which calls are recorded as spans, for every front end: W3C trace context in, the sampler's decision out.
//!
//! A recorded span costs as much as the rest of a cache hit, so the decision to record comes before the span.

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{SpanKind, TraceContextExt as _, TraceId};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator, SamplingDecision, ShouldSample};
use tracing::{Level, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Longest trace header that spans take over: W3C Trace Context has `tracestate` carry at least 512 characters.
const MAX_TRACE_HEADER: usize = 512;

/// Creates the spans of calls. Without a sampler nothing is exported, and spans exist only for logs at DEBUG.
#[derive(Debug, Clone, Default)]
pub struct Tracing {
    sampler: Option<Box<dyn ShouldSample>>,
}

/// The target of a span. Only spans with the target `ecr_broker::rpc` are exported; a span's target must be a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// `ecr_broker::rpc`.
    Exported,
    /// `ecr_broker::rpc::local`.
    Local,
}

impl Tracing {
    /// Exports the calls that `sampler` selects.
    #[must_use]
    pub fn sampled_by(sampler: Box<dyn ShouldSample>) -> Self {
        Self { sampler: Some(sampler) }
    }

    /// Returns the span of a call, which `create` creates with a `trace_id` field; a disabled one if it is not recorded. `trace` is the
    /// client's trace, recorded or not.
    pub(super) fn span(
        &self,
        name: &'static str,
        headers: &HeaderMap,
        trace: Option<TraceId>,
        create: impl Fn(Target) -> Span,
    ) -> Span {
        if let Some(parent) = self.sampled_parent(name, headers) {
            let span = create(Target::Exported);
            // Before the span is entered: an entered span already has a trace ID.
            let _ = span.set_parent(parent);
            span.record("trace_id", field::display(span.context().span().span_context().trace_id()));
            return span;
        }
        if !tracing::enabled!(target: "ecr_broker::rpc::local", Level::DEBUG) {
            return Span::none();
        }
        let span = create(Target::Local);
        span.record("trace_id", trace.map(field::display));
        span
    }

    /// Returns the parent of the span, which may be empty, if the sampler selects the call.
    fn sampled_parent(&self, name: &'static str, headers: &HeaderMap) -> Option<opentelemetry::Context> {
        let sampler = self.sampler.as_ref()?;
        let parent = if headers.contains_key("traceparent") {
            TraceContextPropagator::new().extract(&Headers(headers))
        } else {
            opentelemetry::Context::new()
        };
        is_sampled(sampler.as_ref(), &parent, name).then_some(parent)
    }
}

/// Reads the trace ID in W3C's `traceparent`.
pub(super) fn trace_id(headers: &HeaderMap) -> Option<TraceId> {
    let id = headers.get("traceparent")?.to_str().ok()?.split('-').nth(1)?;
    TraceId::from_hex(id).ok().filter(|id| id.to_string().len() == 32 && *id != TraceId::INVALID)
}

fn is_sampled(sampler: &dyn ShouldSample, parent: &opentelemetry::Context, name: &str) -> bool {
    let parent_trace = parent.span().span_context().trace_id();
    let trace =
        if parent_trace == TraceId::INVALID { RandomIdGenerator::default().new_trace_id() } else { parent_trace };
    let result = sampler.should_sample(Some(parent), trace, name, &SpanKind::Server, &[], &[]);
    result.decision == SamplingDecision::RecordAndSample
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok().filter(|text| text.len() <= MAX_TRACE_HEADER)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
