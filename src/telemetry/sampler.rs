//! Sampling, where half of it is done already.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// Takes every server span, for a call that is not to be recorded has none, and asks the configured sampler about others.
#[derive(Debug, Clone)]
pub(super) struct DecidedAtTheEdge(pub(super) Sampler);

impl ShouldSample for DecidedAtTheEdge {
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
