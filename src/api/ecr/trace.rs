//! Span of a request: a fixed set of fields, by OpenTelemetry's conventions for AWS's APIs and for HTTP.

use http::{HeaderMap, StatusCode};
use opentelemetry::trace::TraceId;
use tracing::{Span, field};

use super::operation::Operation;
use crate::api::trace::{Target, Tracing};
use crate::broker::Released;
use crate::request_id::RequestId;

/// Creates the span of a request. A macro, because a span's target must be a literal.
macro_rules! request_span {
    ($target:literal, $operation:expr, $id:expr, $trace:expr) => {
        tracing::info_span!(
            target: $target,
            parent: None,
            "request",
            otel.name = $operation.name(),
            otel.kind = "server",
            otel.status_code = field::Empty,
            rpc.system.name = "aws-api",
            rpc.method = $operation.name(),
            rpc.response.status_code = field::Empty,
            http.response.status_code = field::Empty,
            error.r#type = field::Empty,
            request_id = %$id,
            trace_id = $trace.map(field::display),
            registry = field::Empty,
            cache_status = field::Empty,
        )
    };
}

/// Returns the span of a request; a disabled one if it is not recorded.
pub(super) fn span(
    tracing: &Tracing,
    operation: Operation,
    headers: &HeaderMap,
    trace: Option<TraceId>,
    id: RequestId,
) -> Span {
    Tracing::span(tracing.draw(operation.name(), headers, trace), trace, |target, trace| match target {
        Target::Exported => request_span!("ecr_broker::rpc", operation, id, trace),
        Target::Local => request_span!("ecr_broker::rpc::local", operation, id, trace),
    })
}

/// Records the credential of a request for one registry in the current span.
pub(super) fn record_release(released: &Released) {
    let span = Span::current();
    span.record("registry", &released.host);
    span.record("cache_status", field::debug(released.found.status));
}

/// Records how a request ended; `code` is the error code of AWS, or `OK`. Only a status that is the server's fault makes its span an
/// error.
pub(super) fn record_end(span: &Span, status: StatusCode, code: &'static str) {
    span.record("http.response.status_code", status.as_u16());
    span.record("rpc.response.status_code", code);
    if status.is_server_error() {
        span.record("error.type", code);
        span.record("otel.status_code", "ERROR");
    }
}
