//! Span identities, passed between tasks without keeping the spans open.
//!
//! A tracing span stays open as long as any of its children or handles. A fetch may outlive its caller, and must not keep the
//! caller's span open.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// OpenTelemetry's identity of a span: trace ID, span ID and sampling flag.
#[derive(Debug, Clone)]
pub struct SpanIdentity(SpanContext);

impl SpanIdentity {
    /// Returns the identity of `span`; `None`: the span is not exported.
    #[must_use]
    pub fn of(span: &Span) -> Option<Self> {
        let context = span.context().span().span_context().clone();
        context.is_valid().then_some(Self(context))
    }

    /// Returns the identity of the current span.
    #[must_use]
    pub fn current() -> Option<Self> {
        Self::of(&Span::current())
    }

    /// Makes this span the parent of `child`, which must not have been entered yet.
    pub fn adopt(&self, child: &Span) {
        let parent = Context::new().with_remote_span_context(self.0.clone());
        if child.set_parent(parent).is_err() {
            tracing::debug!("span has no parent: it was entered too early");
        }
    }

    /// Links `span` to this one: related, but neither parent nor child.
    pub fn link_from(&self, span: &Span) {
        span.add_link(self.0.clone());
    }

    /// Returns the value of W3C's `traceparent`, by which another program's spans join this one.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let (trace, span, flags) = (self.0.trace_id(), self.0.span_id(), self.0.trace_flags().to_u8());
        format!("00-{trace}-{span}-{flags:02x}")
    }

    /// Returns the trace ID in hex.
    #[must_use]
    pub fn trace_id(&self) -> String {
        self.0.trace_id().to_string()
    }
}
