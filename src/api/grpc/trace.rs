//! Span of a call: W3C trace context in, a fixed set of fields out.
//!
//! A recorded span costs as much as the rest of a cache hit, so the decision to record comes before the span.
//! Attribute names follow OpenTelemetry's RPC conventions, which are not stable yet; all of them are in this file.

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{SpanKind, TraceContextExt as _, TraceId};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator, SamplingDecision, ShouldSample};
use tonic::Code;
use tracing::{Level, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::call::Call;
use super::methods::Method;

/// Longest trace header that spans take over: W3C Trace Context has `tracestate` carry at least 512 characters.
const MAX_TRACE_HEADER: usize = 512;

/// Creates the span of a call. A macro, because a span's target must be a literal; only `ecr_broker::rpc` itself is exported.
macro_rules! call_span {
    ($target:literal, $method:expr, $call:expr) => {
        tracing::info_span!(
            target: $target,
            parent: None,
            "call",
            otel.name = $method.name,
            otel.kind = "server",
            otel.status_code = field::Empty,
            rpc.system.name = "grpc",
            rpc.method = $method.name,
            rpc.response.status_code = field::Empty,
            error.r#type = field::Empty,
            request_id = %$call.id,
            trace_id = field::Empty,
            registry = field::Empty,
            cache_status = field::Empty,
        )
    };
}

/// Creates the spans of calls. Without a sampler nothing is exported, and spans exist only for logs at DEBUG.
#[derive(Debug, Clone, Default)]
pub struct Tracing {
    sampler: Option<Box<dyn ShouldSample>>,
}

impl Tracing {
    /// Exports the calls that `sampler` selects.
    #[must_use]
    pub fn sampled_by(sampler: Box<dyn ShouldSample>) -> Self {
        Self { sampler: Some(sampler) }
    }

    /// Returns the span of a call; a disabled one if it is not recorded.
    pub(super) fn span(&self, method: &Method, headers: &HeaderMap, call: &Call) -> Span {
        if let Some(parent) = self.sampled_parent(method, headers) {
            let span = call_span!("ecr_broker::rpc", method, call);
            // Before the span is entered: an entered span already has a trace ID.
            let _ = span.set_parent(parent);
            span.record("trace_id", field::display(span.context().span().span_context().trace_id()));
            return span;
        }
        if !tracing::enabled!(target: "ecr_broker::rpc::local", Level::DEBUG) {
            return Span::none();
        }
        let span = call_span!("ecr_broker::rpc::local", method, call);
        span.record("trace_id", call.trace.map(field::display));
        span
    }

    /// Returns the parent of the span, which may be empty, if the sampler selects the call.
    fn sampled_parent(&self, method: &Method, headers: &HeaderMap) -> Option<opentelemetry::Context> {
        let sampler = self.sampler.as_ref()?;
        let parent = TraceContextPropagator::new().extract(&Headers(headers));
        is_sampled(sampler.as_ref(), &parent, method).then_some(parent)
    }
}

/// Records how a call ended. Only codes that are the server's fault make its span an error.
pub(super) fn record_end(span: &Span, code: Code) {
    span.record("rpc.response.status_code", field::debug(code));
    if is_server_fault(code) {
        span.record("error.type", field::debug(code));
        span.record("otel.status_code", "ERROR");
    }
}

fn is_server_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

fn is_sampled(sampler: &dyn ShouldSample, parent: &opentelemetry::Context, method: &Method) -> bool {
    let parent_trace = parent.span().span_context().trace_id();
    let trace =
        if parent_trace == TraceId::INVALID { RandomIdGenerator::default().new_trace_id() } else { parent_trace };
    let result = sampler.should_sample(Some(parent), trace, method.name, &SpanKind::Server, &[], &[]);
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
