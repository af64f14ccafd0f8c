//! The identity of a span, to be handed between tasks without keeping the span itself open.
//!
//! A tracing span lives as long as any child or handle of it, so a fetch that outlives its caller must not hold on to the
//! caller's span: it would report the caller as busy until the fetch ends.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// What OpenTelemetry knows a span by: trace id, span id and whether it is sampled.
#[derive(Debug, Clone)]
pub struct SpanIdentity(SpanContext);

impl SpanIdentity {
    /// The identity of `span`; none where it is not exported.
    #[must_use]
    pub fn of(span: &Span) -> Option<Self> {
        let context = span.context().span().span_context().clone();
        context.is_valid().then_some(Self(context))
    }

    /// The identity of the span that the caller is in.
    #[must_use]
    pub fn current() -> Option<Self> {
        Self::of(&Span::current())
    }

    /// Makes this the parent of `span`, which must not have been entered yet.
    pub fn adopt(&self, span: &Span) {
        let parent = Context::new().with_remote_span_context(self.0.clone());
        if span.set_parent(parent).is_err() {
            tracing::debug!("a span was entered before it had its parent");
        }
    }

    /// Links `span` to this one: related, but neither parent nor child.
    pub fn link_from(&self, span: &Span) {
        span.add_link(self.0.clone());
    }

    /// The trace's id, in hex.
    #[must_use]
    pub fn trace_id(&self) -> String {
        self.0.trace_id().to_string()
    }
}
