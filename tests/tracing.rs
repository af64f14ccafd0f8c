//! Spans and log lines of the real program, and the secrets that they must not hold.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod collector;
mod program;
mod support;

use std::collections::HashSet;
use std::io::Read as _;

use collector::Collector;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use program::{SERVE_SIMULATED, Server, simulated_broker};
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
