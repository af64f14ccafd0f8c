//! Span of a gRPC call: a fixed set of fields.
//!
//! Attribute names follow OpenTelemetry's RPC conventions, which are not stable yet; all of them are in this file.

use http::HeaderMap;
use opentelemetry::trace::TraceId;
use tonic::Code;
use tracing::{Span, field};

use super::call::Call;
use super::methods::Method;
use crate::api::trace::{Target, Tracing};
use crate::request_id::RequestId;

/// Creates the span of a call. A macro, because a span's target must be a literal.
macro_rules! call_span {
    ($target:literal, $method:expr, $id:expr, $trace:expr) => {
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
            request_id = %$id,
            trace_id = $trace.map(field::display),
            registry = field::Empty,
            cache_status = field::Empty,
        )
    };
}

/// Returns the span of a call; a disabled one if it is not recorded.
pub(super) fn span(tracing: &Tracing, method: &Method, headers: &HeaderMap, call: &Call) -> Span {
    let draw = tracing.draw(method.name, headers, call.trace);
    Tracing::span(draw, call.trace, |target, trace| match target {
        Target::Exported => call_span!("ecr_broker::rpc", method, call.id, trace),
        Target::Local => call_span!("ecr_broker::rpc::local", method, call.id, trace),
    })
}

/// Returns a span for the log lines of a recorded call that is exported without `tracing`.
pub(super) fn log_span(method: &Method, id: RequestId, trace: TraceId) -> Span {
    call_span!("ecr_broker::rpc::local", method, id, Some(trace))
}

/// Records how a call ended. Only codes that are the server's fault make its span an error.
pub(super) fn record_end(span: &Span, code: Code) {
    span.record("rpc.response.status_code", field::debug(code));
    if is_server_fault(code) {
        span.record("error.type", field::debug(code));
        span.record("otel.status_code", "ERROR");
    }
}

/// Returns whether a code is the server's fault.
pub(super) fn is_server_fault(code: Code) -> bool {
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
