//! The span of a call: W3C trace context in, an allow-list of fields out.
//!
//! A recorded span costs as much as the rest of a cache hit, so whether to record is decided before there is a span.
//! Attribute names follow OpenTelemetry's RPC conventions, which are not stable yet; all of them stand here.

use http::{HeaderMap, Request};
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{SpanKind, TraceContextExt as _, TraceId};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator, SamplingDecision, ShouldSample};
use tonic::Code;
use tracing::{Level, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::methods::Method;
use super::middleware::Call;

/// The span of a call. Only what has the target `ecr_broker::rpc` itself is exported, and a span's target cannot be chosen at run
/// time.
macro_rules! call_span {
    ($target:literal, $method:expr, $call:expr) => {
        tracing::info_span!(
            target: $target,
            parent: None,
            "call",
            otel.name = $method,
            otel.kind = "server",
            otel.status_code = field::Empty,
            rpc.system.name = "grpc",
            rpc.method = $method,
            rpc.response.status_code = field::Empty,
            error.r#type = field::Empty,
            request_id = %$call.id,
            trace_id = field::Empty,
            registry = field::Empty,
            cache_status = field::Empty,
        )
    };
}

/// Which calls are recorded. Without a sampler nothing is exported, and there are spans only for logs at DEBUG.
#[derive(Debug, Clone, Default)]
pub struct Tracing {
    sampler: Option<Box<dyn ShouldSample>>,
}

impl Tracing {
    /// Calls are exported as `sampler` decides.
    #[must_use]
    pub fn sampled_by(sampler: Box<dyn ShouldSample>) -> Self {
        Self { sampler: Some(sampler) }
    }

    /// The span for a call, disabled where it is not to be recorded.
    pub(super) fn span<B>(&self, request: &Request<B>, call: &Call) -> Span {
        let parent = self.sampler.as_ref().map(|_| TraceContextPropagator::new().extract(&Headers(request.headers())));
        let method = Method::of(request.uri().path()).name;
        let sampled = match (&self.sampler, &parent) {
            (Some(sampler), Some(parent)) => is_sampled(sampler.as_ref(), parent, method),
            _ => false,
        };
        match parent {
            Some(parent) if sampled => {
                let span = call_span!("ecr_broker::rpc", method, call);
                // Before the span is entered: afterwards it has a trace of its own already.
                let _ = span.set_parent(parent);
                span.record("trace_id", field::display(span.context().span().span_context().trace_id()));
                span
            }
            _ if tracing::enabled!(target: "ecr_broker::rpc::local", Level::DEBUG) => {
                let span = call_span!("ecr_broker::rpc::local", method, call);
                span.record("trace_id", call.trace.map(field::display));
                span
            }
            _ => Span::none(),
        }
    }
}

/// Notes how a call ended. Only what is the server's own fault makes its span an error.
pub(super) fn record_end(span: &Span, code: Code) {
    span.record("rpc.response.status_code", field::debug(code));
    let own_fault = matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    );
    if own_fault {
        span.record("error.type", field::debug(code));
        span.record("otel.status_code", "ERROR");
    }
}

/// The caller's trace id, in W3C's `traceparent`.
pub(super) fn callers_trace(headers: &HeaderMap) -> Option<TraceId> {
    let id = headers.get("traceparent")?.to_str().ok()?.split('-').nth(1)?;
    TraceId::from_hex(id).ok().filter(|id| id.to_string().len() == 32 && *id != TraceId::INVALID)
}

fn is_sampled(sampler: &dyn ShouldSample, parent: &opentelemetry::Context, method: &'static str) -> bool {
    let parent_trace = parent.span().span_context().trace_id();
    let trace =
        if parent_trace == TraceId::INVALID { RandomIdGenerator::default().new_trace_id() } else { parent_trace };
    let result = sampler.should_sample(Some(parent), trace, method, &SpanKind::Server, &[], &[]);
    result.decision == SamplingDecision::RecordAndSample
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
