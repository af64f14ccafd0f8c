//! The sampler of exported spans. Server spans are sampled before they are made, so it samples only the others.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// Records every server span, because a call that is not sampled has none. The configured sampler decides on other spans.
#[derive(Debug, Clone)]
pub(super) struct CallsAlreadySampled(pub(super) Sampler);

impl ShouldSample for CallsAlreadySampled {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        if *kind != SpanKind::Server {
            return self.0.should_sample(parent, trace, name, kind, attributes, links);
        }
        let trace_state = parent.map_or_else(TraceState::default, |cx| cx.span().span_context().trace_state().clone());
        SamplingResult { decision: SamplingDecision::RecordAndSample, attributes: Vec::new(), trace_state }
    }
}
