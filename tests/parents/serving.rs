//! What a child serves: its parent's credentials, as the parent has them.

use std::time::Duration;

use ecr_broker::pb::{CacheStatus, GetRegistryCredentialsRequest};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::brokers::{DEAD, address, asking, child, child_with, config_file, get, parent, parent_with};
use super::collector::Collector;
use super::program::{Server, run};
use super::support::{HOST, host, request};

#[tokio::test(flavor = "multi_thread")]
async fn child_without_aws_serves_its_parents_credentials_with_their_expiry() {
    let parent = parent(&[]);
    let child = child(&asking(&[&address(&parent)], ""));
    let (first, again) = (get(&child, request(HOST)).await.unwrap(), get(&child, request(HOST)).await.unwrap());
    let of_parent = get(&parent, request(HOST)).await.unwrap();
    assert_eq!((first.cache_status(), again.cache_status()), (CacheStatus::Miss, CacheStatus::Hit));
    assert_eq!(of_parent.cache_status(), CacheStatus::Hit, "one call to AWS");
    for credentials in [&first, &again] {
        assert_eq!(credentials.password, of_parent.password);
        assert_eq!((credentials.issue_time, credentials.expire_time), (of_parent.issue_time, of_parent.expire_time));
        assert_eq!(
            (&credentials.credential_id, &credentials.registry),
            (&of_parent.credential_id, &of_parent.registry)
        );
        assert_eq!((&credentials.account_id, &credentials.region), (&of_parent.account_id, &of_parent.region));
    }
    assert_eq!((first.source.as_str(), again.source.as_str()), ("parent:central", ""));
    let public = get(&child, request("public.ecr.aws")).await.unwrap();
    assert_eq!((public.registry.as_str(), public.source.as_str()), ("public.ecr.aws", "parent:central"));
    // Health does not ask for an AWS identity that nothing needs.
    let health =
        run(&["probe", "--address", &child.address, "--service", "ecrbroker.v1.RegistryCredentialsService"], &[]);
    assert_eq!(health.code, 0, "{health:?}");
    let log = child.stop();
    assert!(!log.contains("AWS credentials not found"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn validity_and_rejected_ids_reach_the_parent() {
    let parent = parent(&[]);
    let child = child(&asking(&[&address(&parent)], "[cache]\nmax_min_validity = \"12h\""));
    let first = get(&child, request(HOST)).await.unwrap();
    let rejected = first.credential_id.clone();
    let other = get(&child, GetRegistryCredentialsRequest { rejected_credential_id: rejected, ..request(HOST) }).await;
    let other = other.unwrap();
    assert_ne!(other.credential_id, first.credential_id);
    assert_eq!(get(&parent, request(HOST)).await.unwrap().credential_id, other.credential_id, "the parent replaced it");

    let lasting = |hours: i64, host: &str| GetRegistryCredentialsRequest {
        min_validity: Some(prost_types::Duration { seconds: hours * 3_600, nanos: 0 }),
        ..request(host)
    };
    let refused = get(&child, lasting(11, &host(2))).await.unwrap_err();
    assert_eq!((refused.reason.as_str(), refused.retry_after), ("VALIDITY_UNSATISFIABLE", None), "{refused:?}");
    get(&child, lasting(9, &host(2))).await.expect("only the request was refused, not the registry");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_covered_registries_go_to_the_parent() {
    let parent = parent(&[]);
    let config = format!(
        "[[parents]]\nname = \"eu\"\naddresses = [\"{}\"]\nregistries = [{{ accounts = [\"*\"], regions = [\"eu-*\"] }}]\n",
        address(&parent)
    );
    let child = child_with(&config, &["--simulate"], &[]);
    assert_eq!(get(&child, request(HOST)).await.unwrap().source, "parent:eu");
    let american = HOST.replace("eu-central-1", "us-east-1");
    assert_eq!(get(&child, request(&american)).await.unwrap().source, "aws");
    let status = run(&["status", "--address", &child.address], &[]).out();
    assert!(status.contains("via eu"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn profile_of_the_parent_is_asked_for_by_its_name() {
    let grants = "[[profiles]]\nname = \"far\"\nrole_chain = [\"arn:aws:iam::210987654321:role/hub\"]\n\
                  [[grants]]\nid = \"g\"\ncallers = [{ loopback = true }]\nregistries = [{ public = true }]\nprofile = \"far\"\n\
                  [authentication]\nloopback = true\n";
    let (parent, _directory) = parent_with(grants, &[]);
    let child = child(&asking(&[&address(&parent)], "profiles = [\"default\", \"far\"]"));
    let far = GetRegistryCredentialsRequest { profile: "far".to_owned(), ..request("public.ecr.aws") };
    assert_eq!(get(&child, far).await.unwrap().profile, "far");
    let chosen = get(&child, request("public.ecr.aws")).await.unwrap();
    assert_eq!(chosen.source, "parent:central", "the parent's grants choose");
    let unknown = GetRegistryCredentialsRequest { profile: "near".to_owned(), ..request("public.ecr.aws") };
    assert_eq!(get(&child, unknown).await.unwrap_err().reason, "PROFILE_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_address_and_one_that_stops_cost_no_call() {
    let (first, second) = (parent(&[]), parent(&[]));
    let child = child(&asking(&[DEAD, &address(&first), &address(&second)], ""));
    for number in 0..6 {
        get(&child, request(&host(number))).await.unwrap();
    }
    first.stop();
    for number in 10..16 {
        get(&child, request(&host(number))).await.unwrap();
    }
    let log = child.stop();
    assert!(log.contains("parent address left aside"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unix_socket_is_an_address_of_a_parent() {
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("parent.sock").display());
    let parent = Server::start(&["serve", "--simulate", "--listen", &socket], &[]);
    let child = child(&asking(&[&socket], ""));
    assert_eq!(get(&child, request(HOST)).await.unwrap().source, "parent:central");
    drop(parent);
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_and_request_id_reach_the_parent() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let (of_child, of_parent) = (Collector::default(), Collector::default());
    let endpoints = [of_child.over_grpc().await, of_parent.over_grpc().await];
    let audit = tempfile::tempdir().unwrap();
    let audits = ["child", "parent"].map(|name| audit.path().join(name).to_str().unwrap().to_owned());
    let environment = |index: usize| {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoints[index].as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("ECR_BROKER_AUDIT_OUTPUT", audits[index].as_str()),
        ]
    };
    let parent = super::program::simulated_broker(&[], &environment(1));
    let child = child_with(&asking(&[&address(&parent)], ""), &[], &environment(0));
    let mut traced = tonic::Request::new(request(HOST));
    traced.metadata_mut().insert("traceparent", format!("00-{TRACE}-0000000000000001-01").parse().unwrap());
    get(&child, traced).await.unwrap();
    child.stop();
    parent.stop();
    let (child_spans, parent_spans) = (of_child.spans(), of_parent.spans());
    let call = child_spans.iter().find(|span| span.kind() == SpanKind::Client).unwrap();
    assert_eq!(call.name, "ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials");
    let server = parent_spans.iter().find(|span| span.kind() == SpanKind::Server).unwrap();
    assert_eq!((&server.parent_span_id, &server.trace_id), (&call.span_id, &call.trace_id));
    assert_eq!(data_encoding::HEXLOWER.encode(&server.trace_id), TRACE);

    let record = |path: &str| -> serde_json::Value {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).next().unwrap()
    };
    let (of_child, of_parent) = (record(&audits[0]), record(&audits[1]));
    assert_eq!((&of_child["source"], &of_parent["source"]), (&"parent:central".into(), &"aws".into()));
    assert_eq!(of_parent["child_request_id"], of_child["request_id"], "{of_parent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deadline_of_a_caller_ends_its_call_and_not_the_fetch() {
    let parent = parent(&["--simulate-latency", "2s"]);
    let child = child(&asking(&[&address(&parent)], ""));
    let mut hurried = tonic::Request::new(request(HOST));
    hurried.set_timeout(Duration::from_millis(300));
    let mut caller = super::brokers::client(&child).await;
    assert!(caller.get_registry_credentials(hurried).await.is_err());
    let late = get(&child, request(HOST)).await.unwrap();
    assert_ne!(late.cache_status(), CacheStatus::Miss, "it joined the first caller's fetch, or found its result");
}

#[test]
fn broker_that_would_ask_itself_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("own.sock").display());
    let (_config, file) = config_file(&asking(&[&socket], ""));
    let ended = run(&["serve", "--config", &file, "--listen", &socket], &[]);
    assert!(ended.code != 0 && ended.stderr.contains("own"), "{ended:?}");
}
