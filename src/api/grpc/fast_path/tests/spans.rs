//! Spans of sampled hits. That they equal the ordinary path's is tested on whole brokers.

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanId, SpanKind, Status, TracerProvider as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor};

use super::*;
use crate::api::trace::DrawnIds;

#[derive(Debug, Clone, Default)]
struct Exported(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Exported {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Exported {
    fn tracing(&self, sampler: Sampler) -> Tracing {
        let provider = SdkTracerProvider::builder().with_span_processor(self.clone());
        let tracer = provider.with_id_generator(DrawnIds::default()).build().tracer("test");
        Tracing::sampled_by(Box::new(sampler), tracer)
    }

    /// Returns the only span since the last time, and its attributes but for the IDs, which are in hex.
    fn only(&self) -> (SpanData, Vec<KeyValue>) {
        let mut spans = std::mem::take(&mut *self.0.lock().unwrap());
        assert_eq!(spans.len(), 1);
        let span = spans.remove(0);
        let mut attributes = span.attributes.clone();
        let ids: Vec<_> = attributes.drain(2..4).map(|id| (id.key.to_string(), id.value.to_string())).collect();
        let is_hex = |id: &str| id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit());
        assert!(ids[0].0 == "request_id" && is_hex(&ids[0].1), "{ids:?}");
        assert_eq!(ids[1], ("trace_id".to_owned(), span.span_context.trace_id().to_string()));
        (span, attributes)
    }
}

fn initial() -> Vec<KeyValue> {
    vec![KeyValue::new("rpc.system.name", "grpc"), KeyValue::new("rpc.method", METHOD.name)]
}

fn released() -> [KeyValue; 2] {
    [KeyValue::new("registry", HOST), KeyValue::new("cache_status", "Hit")]
}

fn with_code(mut attributes: Vec<KeyValue>, code: &'static str) -> Vec<KeyValue> {
    attributes.push(KeyValue::new("rpc.response.status_code", code));
    attributes
}

#[tokio::test]
async fn sampled_hit_is_answered_and_has_a_span() {
    let exported = Exported::default();
    let served = Served::with(Change { tracing: exported.tracing(Sampler::AlwaysOn), ..Change::default() }).await;
    served.warm().await;
    assert!(exported.0.lock().unwrap().is_empty(), "those of the ordinary path are of the middleware");
    let verdict = served.begin();
    served.advance(HOUR);
    answered_bytes(verdict).await;
    let (span, attributes) = exported.only();
    assert_eq!(attributes, with_code([initial(), released().into()].concat(), "Ok"));
    assert_eq!((span.name.as_ref(), &span.span_kind, &span.status), (METHOD.name, &SpanKind::Server, &Status::Unset));
    assert!(span.span_context.is_sampled() && span.parent_span_id == SpanId::INVALID && !span.parent_span_is_remote);
    assert_eq!(span.start_time, served.clock.now().wall - HOUR, "the start of the call");
    assert!(span.end_time != span.start_time && span.events.is_empty() && span.links.is_empty());
    assert!(!format!("{span:?}").contains(PASSWORD));

    drop(served.begin());
    let (span, attributes) = exported.only();
    assert_eq!((attributes, span.status), (initial(), Status::Unset), "its client ended it");
}

#[tokio::test]
async fn hit_that_is_not_sampled_has_no_span() {
    let exported = Exported::default();
    let served = Served::with(Change { tracing: exported.tracing(Sampler::AlwaysOff), ..Change::default() }).await;
    served.warm().await;
    answered_bytes(served.begin()).await;
    assert!(exported.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn span_of_a_refused_hit_has_its_code() {
    let exported = Exported::default();
    let tracing = exported.tracing(Sampler::AlwaysOn);
    let served = Served::with(Change { tracing, in_flight: Some(8), ..Change::default() }).await;
    served.warm().await;
    let mut held = Vec::new();
    while let answer @ Answer::Credentials(..) = answered(served.begin()).await {
        held.push(answer);
        exported.only();
        assert!(held.len() < 1_000);
    }
    let (span, attributes) = exported.only();
    assert_eq!((attributes, span.status), (with_code(initial(), "ResourceExhausted"), Status::Unset));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn span_of_a_hit_whose_record_failed_is_an_error() {
    let (exported, directory) = (Exported::default(), tempfile::tempdir().unwrap());
    let file = directory.path().join("audit.jsonl");
    let audit = Some(Output::File(file.clone()));
    let served =
        Served::with(Change { tracing: exported.tracing(Sampler::AlwaysOn), audit, ..Change::default() }).await;
    served.warm().await;
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    // The file is looked for at most every 100 ms.
    served.advance(Duration::from_millis(100));
    answered(served.begin()).await;
    let (span, mut attributes) = exported.only();
    assert_eq!(attributes.pop(), Some(KeyValue::new("error.type", "Unavailable")));
    assert_eq!((attributes, span.status), (with_code(initial(), "Unavailable"), Status::error("")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn span_and_record_of_a_hit_have_the_same_request_id() {
    let (exported, directory) = (Exported::default(), tempfile::tempdir().unwrap());
    let file = directory.path().join("audit.jsonl");
    let audit = Some(Output::File(file.clone()));
    let served =
        Served::with(Change { tracing: exported.tracing(Sampler::AlwaysOn), audit, ..Change::default() }).await;
    served.warm().await;
    answered_bytes(served.begin()).await;
    let id = exported.0.lock().unwrap()[0].attributes[2].clone();
    let records = std::fs::read_to_string(&file).unwrap();
    let record: serde_json::Value = serde_json::from_str(records.lines().last().unwrap()).unwrap();
    assert_eq!(id, KeyValue::new("request_id", record["request_id"].as_str().unwrap().to_owned()));
}

#[tokio::test]
async fn span_of_a_traced_hit_is_in_the_trace_of_its_client() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let exported = Exported::default();
    let tracing = exported.tracing(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)));
    let served = Served::with(Change { tracing, ..Change::default() }).await;
    served.warm().await;
    for (flags, is_sampled) in [("01", true), ("00", false)] {
        let traceparent = format!("00-{TRACE}-b7ad6b7169203331-{flags}");
        let request = Request::post(format!("http://localhost/{}", METHOD.name))
            .header("content-type", "application/grpc")
            .header("traceparent", &traceparent)
            .header("tracestate", "a=b")
            .body(())
            .unwrap();
        let head = Head::of(&request).unwrap();
        let connection = served.connection(Peer::Known(CALLER));
        answered_bytes(connection.begin(head, request.headers(), message(HOST))).await;
        if !is_sampled {
            assert!(exported.0.lock().unwrap().is_empty());
            continue;
        }
        let (span, attributes) = exported.only();
        assert_eq!(attributes, with_code([initial(), released().into()].concat(), "Ok"));
        assert_eq!(span.span_context.trace_id().to_string(), TRACE);
        assert_eq!((span.parent_span_id.to_string().as_str(), span.parent_span_is_remote), ("b7ad6b7169203331", true));
        assert_eq!(span.span_context.trace_state().header(), "a=b");
    }
}
