//! The OpenTelemetry Collector and Jaeger: metrics that a collector exposes are those of a scrape, and spans are found by a query.
//!
//! They take minutes to build: `tests/clients/otel.sh` does. CI runs it beside the tests that need neither, and without Jaeger.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::other::{run, succeed, text, tool, tools};
use super::program::{SERVE_SIMULATED, Server, program, skipped};
use super::scraped::Scraped;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A running program. Dropping it kills the process.
struct Running(Child);

impl Running {
    /// Starts a program with a configuration, and waits until it listens on a port.
    fn start(mut command: Command, config: &Path, port: u16) -> Self {
        command.arg("--config").arg(config).env("OTEL_TRACES_SAMPLER", "always_off");
        let running = Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        assert!(
            (0..600).any(|_| {
                let listens = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
                if !listens {
                    std::thread::sleep(Duration::from_millis(100));
                }
                listens
            }),
            "it does not listen on {port}"
        );
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// The samples of a scrape that do not change while nothing happens, without the labels that the collector adds.
fn steady(scraped: &Scraped) -> BTreeMap<String, f64> {
    let changes = ["process_", "tokio_", "ecr_broker_connections", "ecr_broker_upstream_", "target_info", "otel_scope"];
    let samples = scraped.samples.iter().filter(|it| !changes.iter().any(|prefix| it.name.starts_with(prefix)));
    let series = samples.map(|sample| {
        let is_added = |name: &str| name.starts_with("otel_scope") || ["job", "instance"].contains(&name);
        let own = sample.labels.iter().filter(|(name, _)| !is_added(name));
        let labels: Vec<_> = own.map(|(name, value)| format!("{name}={}", bound(value))).collect();
        (format!("{}{labels:?}", sample.name), sample.value)
    });
    series.collect()
}

/// A bound of a bucket is a number in two ways of writing.
fn bound(value: &str) -> String {
    value.parse::<f64>().map_or_else(|_| value.to_owned(), |number| number.to_string())
}

#[test]
#[ignore = "needs otelcol, which tests/clients/otel.sh builds"]
fn otelcol_exposes_the_pushed_metrics_as_a_scrape_has_them() {
    for grpc in [true, false] {
        let otelcol = tool("bin/otelcol");
        let directory = tempfile::tempdir().unwrap();
        let (otlp, exposed) = (free_port(), free_port());
        let protocol = if grpc { "grpc" } else { "http" };
        let config = format!(
            "receivers: {{otlp: {{protocols: {{{protocol}: {{endpoint: '127.0.0.1:{otlp}'}}}}}}}}\n\
             exporters: {{prometheus: {{endpoint: '127.0.0.1:{exposed}'}}}}\n\
             service: {{telemetry: {{metrics: {{level: none}}}}, \
             pipelines: {{metrics: {{receivers: [otlp], exporters: [prometheus]}}}}}}\n"
        );
        let file = directory.path().join("otelcol.yaml");
        fs::write(&file, config).unwrap();
        let collector = Running::start(otelcol, &file, otlp);
        let endpoint = format!("http://127.0.0.1:{otlp}");
        let environment = [
            ("OTEL_METRICS_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", if grpc { "grpc" } else { "http/protobuf" }),
            ("OTEL_TRACES_EXPORTER", "none"),
        ];
        let (broker, ops) = Server::start_with_ops(&SERVE_SIMULATED, &environment);
        for host in [super::PRIVATE, "public.ecr.aws", super::PRIVATE] {
            succeed(program(&[]).args(["get", host, "-o", "json", "--address", &broker.address]));
        }
        let own = Scraped::from(&ops);
        // The last export is that of the end.
        let logs = broker.stop();
        let url = format!("http://127.0.0.1:{exposed}/metrics");
        let collected =
            Scraped::parse(&succeed(Command::new("curl").args(["--silent", "--fail", "--noproxy", "*", &url])));
        let (own, collected) = (steady(&own), steady(&collected));
        assert!(own.len() > 50 && collected.len() > 50, "{} {}: {logs}", own.len(), collected.len());
        let missing: Vec<_> = own.iter().filter(|(name, value)| collected.get(*name) != Some(value)).collect();
        let more: Vec<_> = collected.keys().filter(|name| !own.contains_key(*name)).collect();
        assert!(missing.is_empty() && more.is_empty(), "{protocol}: {missing:?}\n{more:?}");
        drop(collector);
    }
}

#[test]
#[ignore = "needs Jaeger, which tests/clients/otel.sh --jaeger builds"]
fn jaeger_finds_the_spans_of_grpc_and_of_the_aws_api() {
    if !tools().join("bin/jaeger").exists() {
        return skipped("Jaeger is missing; build it with tests/clients/otel.sh --jaeger");
    }
    let jaeger = tool("bin/jaeger");
    let directory = tempfile::tempdir().unwrap();
    let (otlp, query, grpc_query) = (free_port(), free_port(), free_port());
    let config = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{otlp}'}}}}}}}}\n\
         exporters: {{jaeger_storage_exporter: {{trace_storage: memory}}}}\n\
         extensions:\n  jaeger_storage: {{backends: {{memory: {{memory: {{max_traces: 1000}}}}}}}}\n\
         \x20 jaeger_query: {{storage: {{traces: memory}}, http: {{endpoint: '127.0.0.1:{query}'}}, grpc: {{endpoint: '127.0.0.1:{grpc_query}'}}}}\n\
         service: {{extensions: [jaeger_storage, jaeger_query], telemetry: {{metrics: {{level: none}}}}, \
         pipelines: {{traces: {{receivers: [otlp], exporters: [jaeger_storage_exporter]}}}}}}\n"
    );
    let file = directory.path().join("jaeger.yaml");
    fs::write(&file, config).unwrap();
    let storage = Running::start(jaeger, &file, otlp);
    let secret = directory.path().join("secret");
    let api = ["--aws-api-listen", "127.0.0.1:0", "--aws-api-secret-file", secret.to_str().unwrap()];
    let endpoint = format!("http://127.0.0.1:{otlp}");
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let (broker, at) = Server::start_with_aws_api(&[&SERVE_SIMULATED[..], &api].concat(), &environment);
    succeed(program(&[]).args(["get", super::PRIVATE, "-o", "json", "--address", &broker.address]));
    let url = format!("http://{at}/t/{}", fs::read_to_string(&secret).unwrap());
    let mut aws = Command::new("curl");
    aws.args([
        "--silent",
        "--fail",
        "--noproxy",
        "*",
        "--data",
        "{}",
        "--header",
        "content-type: application/x-amz-json-1.1",
    ]);
    aws.args(["--header", "x-amz-target: AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken", &url]);
    succeed(&mut aws);
    broker.stop();

    let api = format!("http://127.0.0.1:{query}/api/traces?service=ecr-broker&limit=100");
    let found = run(Command::new("curl").args(["--silent", "--fail", "--noproxy", "*", &api]));
    let found: serde_json::Value = serde_json::from_str(&text(&found.stdout)).unwrap();
    let spans: Vec<_> =
        found["data"].as_array().unwrap().iter().flat_map(|trace| trace["spans"].as_array().unwrap()).collect();
    let named = |name: &str, kind: &str| {
        let tag = |span: &serde_json::Value, key: &str| {
            let tags = span["tags"].as_array().unwrap().clone();
            tags.into_iter().find(|tag| tag["key"] == key).map(|tag| tag["value"].clone())
        };
        let matching =
            spans.iter().filter(|span| span["operationName"] == name && tag(span, "span.kind") == Some(kind.into()));
        matching.map(|span| tag(span, "rpc.system.name").unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(named("ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials", "server"), ["grpc"], "{found}");
    assert_eq!(named("ECR/GetAuthorizationToken", "server"), ["aws-api"], "{found}");
    assert!(named("ECR/GetAuthorizationToken", "client").iter().all(|system| system == "aws-api"));
    assert!(!found.to_string().contains(url.rsplit('/').next().unwrap()), "the secret is in a span");
    drop(storage);
}
