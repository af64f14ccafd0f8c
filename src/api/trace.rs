//! Which calls are recorded as spans, for every front end: W3C trace context in, the sampler's decision out.
//!
//! A recorded span costs as much as the rest of a cache hit, so the decision to record comes before the span.

use std::cell::Cell;

use http::{HeaderMap, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanId, SpanKind, Status, TraceContextExt as _, TraceId, Tracer as _,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SamplingDecision, SdkTracer, ShouldSample};
use tracing::{Level, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

const TRACEPARENT: &str = "traceparent";
/// Longest trace header that spans take over: W3C Trace Context has `tracestate` carry at least 512 characters.
const MAX_TRACE_HEADER: usize = 512;

/// Creates the spans of calls. Without an export spans exist only for logs at DEBUG.
#[derive(Debug, Clone, Default)]
pub struct Tracing {
    export: Option<Export>,
}

/// Which calls are exported, and with what.
#[derive(Debug, Clone)]
struct Export {
    sampler: Box<dyn ShouldSample>,
    /// The tracer that also exports the spans of `tracing`.
    tracer: SdkTracer,
}

/// The target of a span. Only spans with the target `ecr_broker::rpc` are exported; a span's target must be a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// `ecr_broker::rpc`.
    Exported,
    /// `ecr_broker::rpc::local`.
    Local,
}

/// The decision to record a call, which is drawn once.
#[derive(Debug, Clone)]
pub(super) enum Draw {
    /// The call is recorded and exported.
    Sampled(TraceStart),
    /// The call is not exported.
    NotSampled,
}

/// Where the trace of a recorded call begins.
#[derive(Debug, Clone)]
pub(super) enum TraceStart {
    /// At the client.
    Client(Context),
    /// At the call, with the trace ID that the sampler selected.
    Call(TraceId),
}

impl Tracing {
    /// Exports the calls that `sampler` selects. `tracer` is the one that exports the spans of `tracing`.
    #[must_use]
    pub fn sampled_by(sampler: Box<dyn ShouldSample>, tracer: SdkTracer) -> Self {
        Self { export: Some(Export { sampler, tracer }) }
    }

    /// Has the sampler decide on a call of the method `name`. `trace` is the client's trace; without one no context is built.
    pub(super) fn draw(&self, name: &'static str, headers: &HeaderMap, trace: Option<TraceId>) -> Draw {
        let Some(Export { sampler, .. }) = &self.export else { return Draw::NotSampled };
        let parent = trace.and_then(|_| client_context(headers));
        let own = || RandomIdGenerator::default().new_trace_id();
        let trace = parent.as_ref().map_or_else(own, |parent| parent.span().span_context().trace_id());
        let result = sampler.should_sample(parent.as_ref(), trace, name, &SpanKind::Server, &[], &[]);
        if result.decision == SamplingDecision::RecordAndSample {
            Draw::Sampled(parent.map_or(TraceStart::Call(trace), TraceStart::Client))
        } else {
            Draw::NotSampled
        }
    }

    /// Returns the span of a call, which `create` creates with a trace ID; a disabled one if it is not recorded. `trace` is the
    /// client's trace, recorded or not.
    pub(super) fn span(draw: Draw, trace: Option<TraceId>, create: impl Fn(Target, Option<TraceId>) -> Span) -> Span {
        if let Draw::Sampled(start) = draw {
            let span = create(Target::Exported, Some(start.trace_id()));
            // Before the span is entered: an entered span already has a trace ID.
            start.begin(&span);
            return span;
        }
        if !are_local_spans_logged() {
            return Span::none();
        }
        create(Target::Local, trace)
    }

    /// Exports the span of a call that ends now. It passes by `tracing`, which costs more than the span itself.
    pub(super) fn export_ended(&self, start: TraceStart, span: SpanBuilder, status: Status) {
        let Some(Export { tracer, .. }) = &self.export else { return };
        start.build(|parent| tracer.build_with_context(span, parent)).set_status(status);
    }
}

impl TraceStart {
    /// Returns the ID of the trace, which the span will have.
    pub(super) fn trace_id(&self) -> TraceId {
        match self {
            Self::Client(parent) => parent.span().span_context().trace_id(),
            Self::Call(trace) => *trace,
        }
    }

    /// Begins the trace of a span without a parent.
    fn begin(self, span: &Span) {
        match self {
            Self::Client(parent) => {
                let _ = span.set_parent(parent);
                let _started = span.context();
            }
            Self::Call(trace) => with_drawn(trace, || _ = span.context()),
        }
    }

    /// Builds a span of the trace with its parent.
    fn build<T>(self, build: impl FnOnce(&Context) -> T) -> T {
        match self {
            Self::Client(parent) => build(&parent),
            Self::Call(trace) => with_drawn(trace, || build(&Context::new())),
        }
    }
}

thread_local! {
    /// The trace ID of the span that begins on this thread.
    static DRAWN: Cell<Option<TraceId>> = const { Cell::new(None) };
}

/// Begins a span without a parent, with the trace ID that was drawn for it.
fn with_drawn<T>(trace: TraceId, begin: impl FnOnce() -> T) -> T {
    DRAWN.set(Some(trace));
    let span = begin();
    DRAWN.set(None);
    span
}

/// Returns random IDs, and for a call the trace ID that was drawn for it. A sampler decides by the ID, so that every program with the
/// same ratio decides alike: also on the other spans of the trace.
#[derive(Debug, Default)]
pub struct DrawnIds(RandomIdGenerator);

impl IdGenerator for DrawnIds {
    fn new_trace_id(&self) -> TraceId {
        DRAWN.take().unwrap_or_else(|| self.0.new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}

/// Returns whether the log has the spans of calls that are not exported.
///
/// A span follows the question. Else the layer of the export would skip the next span of the thread, as it would have skipped this one.
pub(super) fn are_local_spans_logged() -> bool {
    tracing::enabled!(target: "ecr_broker::rpc::local", Level::DEBUG)
        && !tracing::debug_span!(target: "ecr_broker::rpc::local", parent: None, "call").is_disabled()
}

/// Reads the trace ID in W3C's `traceparent`.
pub(super) fn trace_id(headers: &HeaderMap) -> Option<TraceId> {
    trace_id_in(traceparent(headers)?)
}

/// Reads the trace ID in a value of `traceparent`.
pub(super) fn trace_id_in(traceparent: &HeaderValue) -> Option<TraceId> {
    let id = traceparent.to_str().ok()?.split('-').nth(1)?;
    TraceId::from_hex(id).ok().filter(|id| id.to_string().len() == 32 && *id != TraceId::INVALID)
}

/// Finds the client's trace. A walk over the few names of a call costs less than the hash of a name that hardly any call has.
fn traceparent(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.iter().find(|(name, _)| name.as_str() == TRACEPARENT).map(|(_, value)| value)
}

/// Reads the client's trace; `None` if it is not one.
fn client_context(headers: &HeaderMap) -> Option<Context> {
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
    context.span().span_context().is_valid().then_some(context)
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

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
    use tracing::field;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn sampled_by(sampler: Sampler) -> Tracing {
        Tracing::sampled_by(Box::new(sampler), SdkTracerProvider::default().tracer("test"))
    }

    fn headers(traceparent: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(TRACEPARENT), traceparent.parse().unwrap())])
    }

    fn selects(sampler: &Sampler, trace: TraceId) -> bool {
        let result = sampler.should_sample(None, trace, "call", &SpanKind::Server, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }

    #[test]
    fn call_without_a_client_trace_is_drawn_by_its_trace_id() {
        let half = Sampler::TraceIdRatioBased(0.5);
        for sampler in [half.clone(), Sampler::ParentBased(Box::new(half.clone()))] {
            let tracing = sampled_by(sampler);
            let draws: Vec<_> = (0..200).map(|_| tracing.draw("call", &HeaderMap::new(), None)).collect();
            let sampled = draws.iter().filter_map(|draw| match draw {
                Draw::Sampled(TraceStart::Call(trace)) => Some(*trace),
                Draw::Sampled(TraceStart::Client(_)) => panic!("no client has a trace"),
                Draw::NotSampled => None,
            });
            let sampled: Vec<_> = sampled.collect();
            assert!((50..150).contains(&sampled.len()), "{}", sampled.len());
            assert!(sampled.iter().all(|trace| selects(&half, *trace)));
        }
    }

    #[test]
    fn draw_follows_the_sampler_and_the_client_trace() {
        const ID: &str = "0af7651916cd43dd8448eb211c80319c-00000000000000ff";
        let by_parent = |root| Sampler::ParentBased(Box::new(root));
        let (yes, no) = (format!("00-{ID}-01"), format!("00-{ID}-00"));
        for (sampler, traceparent, expected) in [
            (Sampler::AlwaysOn, None, true),
            (Sampler::AlwaysOn, Some(no.as_str()), true),
            (Sampler::AlwaysOff, None, false),
            (Sampler::AlwaysOff, Some(&yes), false),
            (by_parent(Sampler::AlwaysOn), Some(&no), false),
            (by_parent(Sampler::AlwaysOn), None, true),
            (by_parent(Sampler::AlwaysOn), Some("00-0-0-00"), true),
            (by_parent(Sampler::AlwaysOff), Some(&yes), true),
            (by_parent(Sampler::AlwaysOff), Some("00-0-0-01"), false),
            (by_parent(Sampler::AlwaysOff), None, false),
            (Sampler::TraceIdRatioBased(0.0), Some(&yes), false),
            (Sampler::TraceIdRatioBased(1.0), Some(&no), true),
        ] {
            let tracing = sampled_by(sampler.clone());
            let headers = traceparent.map(headers).unwrap_or_default();
            let draw = tracing.draw("call", &headers, trace_id(&headers));
            assert_eq!(matches!(draw, Draw::Sampled(_)), expected, "{sampler:?} {traceparent:?}");
            let is_of_client = matches!(draw, Draw::Sampled(TraceStart::Client(_)));
            assert_eq!(is_of_client, expected && traceparent.is_some_and(|text| text.contains(ID)), "{traceparent:?}");
        }
        let headers = headers(&yes);
        assert!(matches!(Tracing::default().draw("call", &headers, trace_id(&headers)), Draw::NotSampled));
    }

    #[test]
    fn span_of_a_sampled_call_has_the_drawn_trace_id() {
        let provider = SdkTracerProvider::builder().with_id_generator(DrawnIds::default()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let _default = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let tracing = sampled_by(Sampler::AlwaysOn);
        let create =
            |_, id: Option<TraceId>| tracing::info_span!(parent: None, "call", trace_id = id.map(field::display));
        for _ in 0..3 {
            let draw = tracing.draw("call", &HeaderMap::new(), None);
            let Draw::Sampled(TraceStart::Call(drawn)) = draw.clone() else { panic!("{draw:?}") };
            let span = Tracing::span(draw, None, create);
            assert_eq!(span.context().span().span_context().trace_id(), drawn);
            let other = create(Target::Exported, None);
            assert_ne!(other.context().span().span_context().trace_id(), drawn, "each draw is for one span");
        }
    }
}
