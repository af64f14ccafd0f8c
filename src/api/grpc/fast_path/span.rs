//! Span of a sampled call that the fast path answers: the same as the ordinary path's (`trace.rs`), made at once when the call ends.

use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceId};
use tonic::Code;
use tracing::Span;

use super::super::trace;
use super::head::METHOD;
use crate::api::trace::{Draw, TraceStart, Tracing};
use crate::request_id::RequestId;

/// A call whose span is exported when it is dropped.
#[derive(Debug)]
pub(super) struct CallSpan {
    tracing: Arc<Tracing>,
    start: TraceStart,
    started: SystemTime,
    id: RequestId,
    /// The registry of a released credential.
    registry: Option<Arc<str>>,
    /// How the call ended; none if its client ended it.
    code: Option<Code>,
}

impl CallSpan {
    /// Has the sampler decide on a call that started then, with the client's trace. `None`: the call is not sampled.
    pub(super) fn begin(
        tracing: &Arc<Tracing>,
        (headers, trace): (&HeaderMap, Option<TraceId>),
        id: RequestId,
        started: SystemTime,
    ) -> Option<Box<Self>> {
        let Draw::Sampled(start) = tracing.draw(METHOD.name, headers, trace) else { return None };
        Some(Box::new(Self { tracing: Arc::clone(tracing), start, started, id, registry: None, code: None }))
    }

    /// Notes that a plain hit is released.
    pub(super) fn release(&mut self, registry: &Arc<str>) {
        self.registry = Some(Arc::clone(registry));
    }

    /// Notes how the call ends.
    pub(super) fn set_code(&mut self, code: Code) {
        self.code = Some(code);
    }

    /// Returns a span for the log lines of the call.
    pub(super) fn log_span(&self) -> Span {
        trace::log_span(METHOD, self.id, self.start.trace_id())
    }

    /// Returns the attributes in the order in which the ordinary path records them.
    fn attributes(&self) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(8);
        attributes.extend([
            KeyValue::new("rpc.system.name", "grpc"),
            KeyValue::new("rpc.method", METHOD.name),
            KeyValue::new("request_id", self.id.to_string()),
            KeyValue::new("trace_id", self.start.trace_id().to_string()),
        ]);
        if let Some(registry) = &self.registry {
            attributes.extend([KeyValue::new("registry", Arc::clone(registry)), KeyValue::new("cache_status", "Hit")]);
        }
        match self.code {
            Some(Code::Ok) => attributes.push(KeyValue::new("rpc.response.status_code", "Ok")),
            Some(code) => attributes.push(KeyValue::new("rpc.response.status_code", format!("{code:?}"))),
            None => {}
        }
        attributes
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        let mut attributes = self.attributes();
        let fault = self.code.filter(|code| trace::is_server_fault(*code));
        attributes.extend(fault.map(|code| KeyValue::new("error.type", format!("{code:?}"))));
        let status = if fault.is_some() { Status::error("") } else { Status::Unset };
        let span = SpanBuilder::from_name(METHOD.name).with_kind(SpanKind::Server).with_start_time(self.started);
        self.tracing.export_ended(self.start.clone(), span.with_attributes(attributes), status);
    }
}
