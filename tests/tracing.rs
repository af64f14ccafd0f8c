//! Spans, exported metrics and log lines of the real program, and the secrets that they must not hold.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod certificates;
mod collector;
mod program;
mod scraped;
mod support;

use std::collections::{BTreeMap, HashSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use certificates::Authority;
use collector::Collector;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value::AsDouble;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use program::{FAST_PATH, SERVE_SIMULATED, Server, run, simulated_broker};
use scraped::{Sample, Scraped};
use support::{Client, HOST, request};
use tonic::Request;

const CALLERS: usize = 20;
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// The broker's address as tonic accepts it.
fn uri(broker: &Server) -> String {
    broker.address.replace("grpc://", "http://")
}

fn server_spans(spans: &[Span]) -> Vec<&Span> {
    spans.iter().filter(|span| span.kind() == SpanKind::Server).collect()
}

/// Calls for one cold key from several callers at once; returns the passwords. `traceparent` gives each call its trace.
async fn call(broker: &Server, callers: usize, traceparent: impl Fn(usize) -> String) -> HashSet<String> {
    let channel = tonic::transport::Endpoint::from_shared(uri(broker)).unwrap().connect().await.unwrap();
    let calls = (0..callers).map(|number| {
        let mut client = Client::new(channel.clone());
        let mut request = Request::new(request(HOST));
        request.metadata_mut().insert("traceparent", traceparent(number).parse().unwrap());
        async move { client.get_registry_credentials(request).await.unwrap().into_inner().credentials.unwrap().password }
    });
    futures_util::future::join_all(calls).await.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_coalesced_calls_share_a_linked_aws_span_without_secrets() {
    for grpc in [true, false] {
        let collector = Collector::default();
        let endpoint = if grpc { collector.over_grpc().await } else { collector.over_http().await };
        let protocol = if grpc { "grpc" } else { "http/protobuf" };
        let environment = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("RUST_LOG", "trace"),
        ];
        let broker = simulated_broker(&["--simulate-latency", "300ms"], &environment);
        let passwords = call(&broker, CALLERS, |number| format!("00-{TRACE}-{:016x}-01", number + 1)).await;
        assert_eq!(passwords.len(), 1);
        let password = passwords.into_iter().next().unwrap();
        let logs = broker.stop();

        let spans = collector.spans();
        let servers = server_spans(&spans);
        let upstream: Vec<_> = spans.iter().filter(|span| span.kind() == SpanKind::Client).collect();
        assert_eq!((servers.len(), upstream.len(), spans.len()), (CALLERS, 1, CALLERS + 1), "{protocol}");
        let aws = upstream[0];
        assert_eq!(aws.name, "ECR/GetAuthorizationToken");
        assert!(
            servers.iter().all(|span| span.name == "ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials")
        );
        let parents: HashSet<_> = servers.iter().map(|span| span.parent_span_id.clone()).collect();
        assert_eq!(parents.len(), CALLERS, "each server span has its own caller for a parent");
        assert!(spans.iter().all(|span| data_encoding::HEXLOWER.encode(&span.trace_id) == TRACE));

        let leader: Vec<_> = servers.iter().filter(|span| span.span_id == aws.parent_span_id).collect();
        assert_eq!(leader.len(), 1, "the AWS call is the child of the caller that started it");
        let linked = servers.iter().filter(|span| span.links.iter().any(|link| link.span_id == aws.span_id)).count();
        assert_eq!(linked, CALLERS - 1, "every other caller links to it");

        assert!(collector.everything().contains("service.name"));
        for (place, text) in [("spans", collector.everything()), ("logs", logs.clone())] {
            assert!(!text.contains(&password) && !text.contains(&password[..60]), "a secret in the {place}");
            let token = data_encoding::BASE64.encode(format!("AWS:{password}").as_bytes());
            assert!(!text.contains(&token[..60]), "a token in the {place}");
        }
        assert!(logs.contains(TRACE), "log lines of a call carry its trace: {logs}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_exported_as_the_sampler_and_the_caller_decide() {
    for (sampler, flags, argument, servers) in [
        ("parentbased_always_on", "00", "", 0),
        ("parentbased_always_on", "01", "", 10),
        ("traceidratio", "01", "0", 0),
        ("always_off", "01", "", 0),
        ("always_on", "00", "", 10),
    ] {
        let collector = Collector::default();
        let endpoint = collector.over_grpc().await;
        let environment = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_SAMPLER", sampler),
            ("OTEL_TRACES_SAMPLER_ARG", argument),
            // The log has spans at this level, whether or not they are exported.
            ("RUST_LOG", "debug"),
        ];
        let broker = simulated_broker(&[], &environment);
        call(&broker, 10, |number| format!("00-{:032x}-{:016x}-{flags}", number + 1, number + 1)).await;
        broker.stop();
        let spans = collector.spans();
        assert_eq!(server_spans(&spans).len(), servers, "{sampler} {flags} {argument}");
        assert!(servers > 0 || spans.is_empty(), "no trace begins with the AWS call: {spans:?}");
    }
}

/// Returns a span without the IDs that are its own, and without times.
fn without_ids_and_times(mut span: Span) -> Span {
    let trace = data_encoding::HEXLOWER.encode(&span.trace_id);
    for attribute in &mut span.attributes {
        let Some(Value::StringValue(text)) = attribute.value.as_mut().and_then(|value| value.value.as_mut()) else {
            continue;
        };
        match attribute.key.as_str() {
            "trace_id" => assert_eq!(std::mem::take(text), trace),
            "request_id" => assert_eq!(std::mem::take(text).len(), 32),
            _ => {}
        }
    }
    assert!(span.start_time_unix_nano > 0 && span.start_time_unix_nano <= span.end_time_unix_nano);
    assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
    (span.start_time_unix_nano, span.end_time_unix_nano) = (0, 0);
    (span.trace_id, span.span_id) = Default::default();
    span
}

/// Returns the server spans of some calls, in their order.
async fn spans_of_hits(fast_path: &str, log: &str) -> Vec<Span> {
    let collector = Collector::default();
    let endpoint = collector.over_grpc().await;
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("RUST_LOG", log),
        (FAST_PATH, fast_path),
    ];
    let broker = simulated_broker(&[], &environment);
    let channel = tonic::transport::Endpoint::from_shared(uri(&broker)).unwrap().connect().await.unwrap();
    let mut client = Client::new(channel);
    for _ in 0..4 {
        for host in [HOST, "public.ecr.aws"] {
            client.get_registry_credentials(request(host)).await.unwrap();
        }
        call(&broker, 1, |_| format!("00-{TRACE}-00000000000000ff-01")).await;
    }
    broker.stop();
    let mut spans = collector.spans();
    spans.retain(|span| span.kind() == SpanKind::Server);
    spans.sort_by_key(|span| span.start_time_unix_nano);
    let ids: HashSet<_> = spans.iter().map(|span| span.span_id.clone()).collect();
    assert_eq!(ids.len(), spans.len());
    spans.into_iter().map(without_ids_and_times).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn exported_spans_of_hits_are_equal_with_and_without_the_fast_path() {
    let fast = spans_of_hits("true", "info").await;
    assert_eq!(fast.len(), 12);
    let public_hit = attributes(&fast[10].attributes);
    assert_eq!(public_hit["registry"], "public.ecr.aws");
    assert_eq!((public_hit["cache_status"].as_str(), public_hit["rpc.response.status_code"].as_str()), ("Hit", "Ok"));
    // At DEBUG the log has spans of all calls.
    for (fast_path, log) in [("false", "info"), ("true", "debug"), ("false", "debug")] {
        assert_eq!(spans_of_hits(fast_path, log).await, fast, "{fast_path} {log}");
    }
}

/// Every program with the same ratio decides alike by the trace ID, so the ID that the sampler selected is exported.
#[tokio::test(flavor = "multi_thread")]
async fn calls_without_a_trace_are_exported_by_the_ratio_of_their_trace_id() {
    const CALLS: usize = 100;
    for sampler in ["traceidratio", "parentbased_traceidratio"] {
        let collector = Collector::default();
        let endpoint = collector.over_grpc().await;
        let environment = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_SAMPLER", sampler),
            ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
        ];
        let broker = simulated_broker(&[], &environment);
        let channel = tonic::transport::Endpoint::from_shared(uri(&broker)).unwrap().connect().await.unwrap();
        let mut client = Client::new(channel);
        for _ in 0..CALLS {
            client.get_registry_credentials(request(HOST)).await.unwrap();
        }
        broker.stop();
        let spans = collector.spans();
        let servers = server_spans(&spans);
        assert!((20..=80).contains(&servers.len()), "{sampler}: {} of {CALLS}", servers.len());
        for span in servers {
            let low = u64::from_be_bytes(span.trace_id[8..].try_into().unwrap());
            assert!(low >> 1 < 1 << 62 && span.parent_span_id.is_empty(), "{sampler}: {:x?}", span.trace_id);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_failure_is_logged_as_json_with_the_message_of_aws() {
    let broker = simulated_broker(&["--simulate-fault", "denied=1"], &[]);
    let channel = tonic::transport::Endpoint::from_shared(uri(&broker)).unwrap().connect().await.unwrap();
    let mut traced = Request::new(request(HOST));
    traced.metadata_mut().insert("traceparent", format!("00-{TRACE}-0000000000000001-01").parse().unwrap());
    let status = Client::new(channel).get_registry_credentials(traced).await.unwrap_err();
    assert!(!status.message().contains("arn:") && !format!("{status:?}").contains("arn:aws"), "{status:?}");
    let id = {
        use tonic_types::StatusExt as _;
        status.get_error_details().request_info().unwrap().request_id.clone()
    };
    let logs = broker.stop();
    let lines: Vec<serde_json::Value> = logs.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let of_aws = lines.iter().find(|line| line["aws.error_code"] == "AccessDeniedException").expect(&logs);
    assert!(of_aws["aws.message"].as_str().unwrap().contains("arn:"), "{of_aws}");
    assert_eq!(of_aws["spans"][0]["request_id"], id, "{of_aws}");
    let of_request = lines.iter().find(|line| line["reason"] == "AWS_ACCESS_DENIED").expect(&logs);
    assert_eq!(of_request["request_id"], id);
    assert_eq!(of_request["trace_id"], TRACE, "also without an exporter");
}

#[tokio::test(flavor = "multi_thread")]
async fn stderr_without_a_reader_does_not_stall_the_broker() {
    let (reader, writer) = std::io::pipe().unwrap();
    let broker = Server::start_with(&SERVE_SIMULATED, &[("RUST_LOG", "debug")], writer.into());
    let channel = tonic::transport::Endpoint::from_shared(uri(&broker)).unwrap().connect().await.unwrap();
    let mut client = Client::new(channel);
    for _ in 0..2000 {
        client.get_registry_credentials(request("ghcr.io")).await.unwrap_err();
    }
    client.get_registry_credentials(request(HOST)).await.unwrap();
    let drain = std::thread::spawn(move || {
        let (mut reader, mut logs) = (reader, Vec::new());
        reader.read_to_end(&mut logs).unwrap();
        logs.len()
    });
    broker.stop();
    assert!(drain.join().unwrap() > 60_000, "the pipe was full");
}

/// A port at which nothing listens.
fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_no_collector_receives_are_logged_with_the_cause() {
    let collector = Collector::default();
    let (over_grpc, over_http) = (collector.over_grpc().await, collector.over_http().await);
    let absent = format!("http://user:secret@127.0.0.1:{}", closed_port());
    let with_tls = |endpoint: &str| endpoint.replace("http://", "https://");
    for (endpoint, protocol, cause) in [
        (absent.as_str(), "grpc", "cannot connect: Connection refused"),
        (&absent, "http/protobuf", "cannot connect: Connection refused"),
        (&over_http, "grpc", "the port is for OTLP over HTTP"),
        (&over_grpc, "http/protobuf", "the port is for OTLP over gRPC"),
        (&with_tls(&over_grpc), "grpc", "the collector does not speak TLS"),
        (&with_tls(&over_http), "http/protobuf", "the collector does not speak TLS"),
    ] {
        let environment = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_TRACES_SAMPLER", "always_on"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ];
        let broker = simulated_broker(&[], &environment);
        call(&broker, 1, |number| format!("00-{TRACE}-{:016x}-01", number + 1)).await;
        broker.until_logged("OTLP export failed");
        let logs = broker.stop();
        let line = logs.lines().find(|line| line.contains("OTLP export failed")).unwrap();
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&line["level"], &line["signal"], &line["protocol"]),
            (&"WARN".into(), &"traces".into(), &protocol.into())
        );
        assert!(line["cause"].as_str().unwrap().starts_with(cause), "{endpoint} {protocol}: {line}");
        assert!(line["dropped"].as_u64().unwrap() > 0, "{line}");
        assert_eq!(line["endpoint"], endpoint.replace("user:secret@", ""));
        assert!(!logs.contains("secret"), "{logs}");
    }
    assert!(collector.spans().is_empty());
}

/// The attributes of a span or a data point, as text.
fn attributes(of: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.clone().and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    of.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

/// Sends a request to the ECR API as an SDK does, and returns the status.
fn ask_aws_api(at: &str, secret: &str, target: &str, traceparent: &str) -> u16 {
    let mut stream = TcpStream::connect(at).unwrap();
    let head = format!(
        "POST /t/{secret} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/x-amz-json-1.1\r\n\
         x-amz-target: {target}\r\ntraceparent: {traceparent}\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Sends a request to the JSON API on a socket, and returns the status.
fn ask_for_json(at: &str, target: &str, traceparent: &str) -> u16 {
    let mut stream = UnixStream::connect(at.strip_prefix("unix:").unwrap()).unwrap();
    let head = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntraceparent: {traceparent}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn json_requests_have_the_spans_of_calls_even_if_they_are_unreadable() {
    let collector = Collector::default();
    let endpoint = collector.over_grpc().await;
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("json.sock").display());
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("ECR_BROKER_SERVER_JSON_LISTEN", socket.as_str()),
    ];
    let (broker, at) = Server::start_with_second("json+", &SERVE_SIMULATED, &environment);
    let parent = |number: u8| format!("00-{TRACE}-{number:016x}-01");
    assert_eq!(ask_for_json(&at, &format!("/v1/credentials?registry={HOST}"), &parent(1)), 200);
    assert_eq!(ask_for_json(&at, "/v2/credentials", &parent(2)), 400);
    broker.stop();

    let spans = collector.spans();
    let mut servers = server_spans(&spans);
    servers.sort_by_key(|span| span.parent_span_id.clone());
    let found: Vec<_> = servers
        .iter()
        .map(|span| (span.name.as_str(), attributes(&span.attributes).remove("rpc.response.status_code").unwrap()))
        .collect();
    let name = "ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials";
    assert_eq!(found, [(name, "Ok".to_owned()), (name, "InvalidArgument".to_owned())]);
    assert!(servers.iter().all(|span| data_encoding::HEXLOWER.encode(&span.trace_id) == TRACE), "{servers:?}");
}

const ECR: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";

#[tokio::test(flavor = "multi_thread")]
async fn aws_api_requests_have_server_spans_in_the_trace_of_their_caller() {
    let collector = Collector::default();
    let endpoint = collector.over_grpc().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    let api = ["--aws-api-listen", "127.0.0.1:0", "--aws-api-secret-file", file.to_str().unwrap()];
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        // A path of the client's is a secret.
        ("RUST_LOG", "debug"),
    ];
    let (broker, at) = Server::start_with_aws_api(&[&SERVE_SIMULATED[..], &api].concat(), &environment);
    let secret = std::fs::read_to_string(&file).unwrap();
    let parent = |number: u8, flags: &str| format!("00-{TRACE}-{number:016x}-{flags}");
    assert_eq!(ask_aws_api(&at, &secret, ECR, &parent(1, "01")), 200);
    assert_eq!(ask_aws_api(&at, &secret, "Made.Up", &parent(2, "01")), 400);
    assert_eq!(ask_aws_api(&at, "wrong-0123456789", ECR, &parent(3, "01")), 403);
    assert_eq!(ask_aws_api(&at, &secret, ECR, &parent(4, "00")), 200, "not sampled by its caller");
    let logs = broker.stop();

    let spans = collector.spans();
    let mut servers = server_spans(&spans);
    servers.sort_by_key(|span| span.parent_span_id.clone());
    let found: Vec<_> = servers
        .iter()
        .map(|span| {
            let mut own = attributes(&span.attributes);
            let mut take = |name: &str| own.remove(name).unwrap_or_default();
            assert_eq!((take("rpc.system.name"), take("rpc.method")), ("aws-api".to_owned(), span.name.clone()));
            let codes = (take("http.response.status_code"), take("rpc.response.status_code"));
            (span.name.as_str(), codes.0, codes.1, take("registry"), take("cache_status"), take("error.type"))
        })
        .collect();
    let text = |texts: [&str; 5]| texts.map(str::to_owned);
    let row = |name, texts| {
        let [status, code, registry, cache, error] = text(texts);
        (name, status, code, registry, cache, error)
    };
    let host = found[0].3.clone();
    assert!(host.contains(".dkr.ecr."), "{found:?}");
    let expected = [
        row("ECR/GetAuthorizationToken", ["200", "OK", &host, "Miss", ""]),
        row("_OTHER", ["400", "UnknownOperationException", "", "", ""]),
        row("ECR/GetAuthorizationToken", ["403", "AccessDeniedException", "", "", ""]),
    ];
    assert_eq!(found, expected);
    assert!(servers.iter().all(|span| data_encoding::HEXLOWER.encode(&span.trace_id) == TRACE));
    let upstream: Vec<_> = spans.iter().filter(|span| span.kind() == SpanKind::Client).collect();
    assert_eq!(upstream.len(), 1);
    assert_eq!(upstream[0].parent_span_id, servers[0].span_id, "the AWS call is the child of the request");
    for text in [collector.everything(), logs] {
        assert!(!text.contains(&secret) && !text.contains("Made.Up\""), "{text}");
    }
}

/// Labels and values by the name of their metric.
type Points = BTreeMap<String, Vec<(BTreeMap<String, String>, f64)>>;

/// The names and the values of a scrape that do not change while nothing happens, as OTLP has them.
fn as_otlp(scraped: &Scraped) -> Points {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let without_le = |sample: &Sample| {
        let labels = sample.labels.clone().into_iter();
        labels.filter(|(name, _)| name != "le").collect::<BTreeMap<_, _>>()
    };
    for sample in &scraped.samples {
        let (name, type_of) = (sample.name.as_str(), |name: &str| scraped.types.get(name).map(String::as_str));
        let stem = ["_bucket", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let of_histogram = |name: &&str| type_of(name) == Some("histogram");
        if stem.as_ref().is_some_and(of_histogram) {
            continue;
        }
        let name = match (type_of(name), name.strip_suffix("_count").filter(of_histogram)) {
            (Some("counter"), _) => name.trim_end_matches("_total"),
            (_, Some(histogram)) => histogram,
            _ => name,
        };
        found.entry(name.to_owned()).or_default().push((without_le(sample), sample.value));
    }
    found
}

fn of_push(metrics: &[Metric]) -> Points {
    let points = |metric: &Metric| -> Vec<_> {
        let numbers = match metric.data.as_ref().unwrap() {
            Data::Gauge(gauge) => &gauge.data_points,
            Data::Sum(sum) => &sum.data_points,
            Data::Histogram(histogram) => {
                #[expect(clippy::cast_precision_loss, reason = "a small count")]
                let count = |count: u64| count as f64;
                let points = histogram.data_points.iter();
                return points.map(|point| (attributes(&point.attributes), count(point.count))).collect();
            }
            other => panic!("{other:?}"),
        };
        let value = |value| match value {
            Some(AsDouble(value)) => value,
            other => panic!("{other:?}"),
        };
        numbers.iter().map(|point| (attributes(&point.attributes), value(point.value))).collect()
    };
    metrics.iter().map(|metric| (metric.name.clone(), points(metric))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_pushed_at_the_end_as_a_scrape_has_them() {
    for grpc in [true, false] {
        let collector = Collector::default();
        let endpoint = if grpc { collector.over_grpc().await } else { collector.over_http().await };
        let environment = [
            ("OTEL_METRICS_EXPORTER", "otlp"),
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", if grpc { "grpc" } else { "http/protobuf" }),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=of%20ours"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test"),
        ];
        let (broker, ops) = Server::start_with_ops(&SERVE_SIMULATED, &environment);
        call(&broker, 3, |number| format!("00-{TRACE}-{:016x}-01", number + 1)).await;
        // A connection that the drain would wait for changes the figures.
        let page = Scraped::from(&ops);
        let logs = broker.stop();

        let pushes = collector.pushes();
        assert_eq!(pushes.len(), 1, "one at the end: {logs}");
        let (of_last, scraped) = (of_push(&pushes[0]), as_otlp(&page));
        assert!(of_last.keys().eq(scraped.keys()), "{:?}\n{:?}", of_last.keys(), scraped.keys());
        for (name, points) in &scraped {
            let changes = ["process_", "tokio_", "ecr_broker_connections", "ecr_broker_upstream_interval"];
            if !changes.iter().any(|prefix| name.starts_with(prefix)) {
                assert_eq!(&of_last[name], points, "{name}");
            }
        }
        assert!(!of_last["ecr_broker_credentials"].is_empty() && collector.spans().is_empty());
        let sent = collector.everything();
        for text in ["service.name", "ecr-broker", "service.version", "deployment.environment"] {
            assert!(sent.contains(text), "{text}");
        }
        let headers = collector.headers().concat();
        assert!(headers.contains("x-tenant") && headers.contains("of ours"), "{headers}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_pushed_at_the_interval_from_one_start() {
    let collector = Collector::default();
    let endpoint = collector.over_http().await + "/v1/metrics";
    let environment =
        [("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", endpoint.as_str()), ("OTEL_METRIC_EXPORT_INTERVAL", "100")];
    let broker = simulated_broker(&[], &environment);
    collector.until_pushed(3).await;
    broker.stop();
    let times = |metrics: &[Metric]| {
        let found = metrics.iter().find(|metric| metric.name == "ecr_broker_credentials").unwrap();
        let Some(Data::Sum(sum)) = &found.data else { panic!("{found:?}") };
        (sum.data_points[0].start_time_unix_nano, sum.data_points[0].time_unix_nano)
    };
    let times: Vec<_> = collector.pushes().iter().map(|metrics| times(metrics)).collect();
    assert!(times.iter().all(|(start, time)| *start == times[0].0 && start < time), "{times:?}");
    assert!(times.is_sorted_by_key(|(_, time)| *time), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_that_no_collector_receives_are_logged_and_counted() {
    let collector = Collector::default();
    let over_http = collector.over_http().await;
    let absent = format!("http://user:secret@127.0.0.1:{}/v1/metrics", closed_port());
    for (endpoint, protocol, cause) in [
        (absent.as_str(), "http/protobuf", "cannot connect: Connection refused"),
        (&absent, "grpc", "cannot connect: Connection refused"),
        (&over_http, "grpc", "the port is for OTLP over HTTP"),
    ] {
        let environment = [
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", endpoint),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", protocol),
            ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
        ];
        let (broker, ops) = Server::start_with_ops(&SERVE_SIMULATED, &environment);
        broker.until_logged("OTLP export failed");
        let dropped = Scraped::from(&ops).value("ecr_broker_otlp_dropped_total", &[("signal", "metrics")]);
        let logs = broker.stop();
        assert!(dropped >= 1.0, "{dropped}");
        let lines: Vec<_> = logs.lines().filter(|line| line.contains("OTLP export failed")).collect();
        let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!((&line["level"], &line["signal"]), (&"WARN".into(), &"metrics".into()));
        assert!(line["cause"].as_str().unwrap().starts_with(cause), "{endpoint} {protocol}: {line}");
        assert!(!logs.contains("secret") && lines.len() == 1, "{logs}");
    }
    assert!(collector.pushes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_go_through_the_proxy_of_the_environment_and_failures_name_it() {
    let collector = Collector::default();
    let proxy = collector.over_http().await;
    let both = [
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.invalid:4318"),
        ("OTEL_TRACES_SAMPLER", "always_on"),
    ];
    let broker = simulated_broker(&[], &[&both[..], &[("HTTP_PROXY", &*proxy)]].concat());
    call(&broker, 1, |number| format!("00-{TRACE}-{:016x}-01", number + 1)).await;
    let logs = broker.stop();
    assert!(!collector.spans().is_empty() && collector.pushes().len() == 1, "{logs}");
    assert!(collector.headers()[0].starts_with("post http://collector.invalid:4318/v1/metrics "));

    let absent = format!("http://user:secret@127.0.0.1:{}", closed_port());
    let environment = [&both[..], &[("HTTP_PROXY", &*absent), ("OTEL_METRIC_EXPORT_INTERVAL", "100")]].concat();
    let broker = simulated_broker(&[], &environment);
    broker.until_logged("OTLP export failed");
    let logs = broker.stop();
    let line = logs.lines().find(|line| line.contains("OTLP export failed")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let shown = absent.replace("user:secret@", "");
    assert!(line["cause"].as_str().unwrap().starts_with(&format!("cannot connect to the proxy {shown}: ")), "{line}");
    assert_eq!((&line["proxy"], &line["endpoint"]), (&shown.into(), &both[1].1.into()));
    assert!(!logs.contains("secret"), "{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn collector_with_tls_is_verified_by_the_certificate_of_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "ca.pem", "authority");
    let (certificate, key) = authority.server().write(directory.path(), "collector");
    for (grpc, trusted) in [(true, true), (false, true), (true, false), (false, false)] {
        let collector = Collector::default();
        let endpoint = collector.with_tls(grpc, (&certificate, &key)).await;
        let environment = [
            ("OTEL_METRICS_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", if grpc { "grpc" } else { "http/protobuf" }),
            ("OTEL_TRACES_SAMPLER", "always_on"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", authority.file.to_str().unwrap()),
        ];
        let broker = simulated_broker(&[], if trusted { &environment } else { &environment[..4] });
        call(&broker, 1, |number| format!("00-{TRACE}-{:016x}-01", number + 1)).await;
        let logs = broker.stop();
        let received = (!collector.spans().is_empty(), collector.pushes().len());
        assert_eq!(received, (trusted, usize::from(trusted)), "grpc {grpc}: {logs}");
        assert_eq!(logs.contains("OTLP export failed"), !trusted, "grpc {grpc}: {logs}");
    }
}

#[test]
fn exporters_that_the_broker_does_not_have_are_refused_at_start() {
    for (name, value, fix) in [
        ("OTEL_METRICS_EXPORTER", "prometheus", "set server.ops_listen and scrape its /metrics"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta", "use cumulative"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nonexistent/ca.pem", "No such file or directory"),
    ] {
        let environment = [("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:1"), (name, value)];
        let refused = run(&SERVE_SIMULATED, &environment);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.error().contains(name) && refused.error().contains(fix), "{refused:?}");
    }
}
