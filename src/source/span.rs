//! The span of one fetch, shared between the layer that starts it and the cache.

use std::sync::{Arc, OnceLock};

use tracing::{Span, field};

use crate::error::FailureClass;
use crate::trace::SpanIdentity;

/// The span of one fetch: empty until a layer starts it. A clone is a handle of the same.
#[derive(Debug, Clone, Default)]
pub struct FetchSpan(Arc<OnceLock<Span>>);

impl FetchSpan {
    /// Stores the span that the fetch runs in. A second call has no effect.
    pub(super) fn start(&self, span: &Span) {
        self.0.get_or_init(|| span.clone());
    }

    /// Returns the span's identity, if it is exported. Callers that were coalesced into the fetch link to it.
    #[must_use]
    pub fn identity(&self) -> Option<SpanIdentity> {
        self.0.get().and_then(SpanIdentity::of)
    }

    /// Runs `f` in the span. Log lines that are written after the source's future was dropped thus keep the fetch's fields.
    pub fn in_scope<T>(&self, f: impl FnOnce() -> T) -> T {
        match self.0.get() {
            Some(span) => span.in_scope(f),
            None => f(),
        }
    }
}

/// Records in the current span that the fetch failed.
pub fn record_failure(class: FailureClass) {
    record_error(&field::debug(class));
}

/// Records in the current span that no call was made because the queue was full.
pub(super) fn record_queue_full() {
    record_error(&"QueueFull");
}

fn record_error(kind: &dyn field::Value) {
    let span = Span::current();
    span.record("otel.status_code", "ERROR");
    span.record("error.type", kind);
}
