//! The status page and `/status.json`: what they show, whom, and for which queries.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod certificates;
mod program;
mod support;

use std::fs;
use std::net::SocketAddr;

use certificates::{Authority, BROKER, Pair, RUNNER};
use ecr_broker::address::ListenAddress;
use ecr_broker::cache::KeyQuery;
use ecr_broker::config::Ops;
use ecr_broker::error::FailureClass;
use program::{Server, run};
use reqwest::{Certificate, Client, Identity, Method, Response};
use serde_json::Value;
use support::*;

const OTHER: &str = "spiffe://a.example/ns/ci/sa/other";

/// Returns a broker in this process with an ops listener on loopback, and the URL of that.
fn broker() -> (TestBroker, String) {
    let broker = TestBroker::start_with(|setup| {
        let listen = ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        setup.config.server.ops = Some(Ops { listen, hosts: Vec::new(), allow_plaintext: false });
    });
    let url = broker.ops.clone().unwrap().strip_prefix("ops+").unwrap().to_owned();
    (broker, url)
}

async fn get(url: &str, target: &str) -> Response {
    Client::builder().no_proxy().build().unwrap().get(format!("{url}{target}")).send().await.unwrap()
}

async fn json(url: &str, target: &str) -> Value {
    serde_json::from_str(&get(url, target).await.text().await.unwrap()).unwrap()
}

#[tokio::test]
async fn page_and_json_show_the_same_keys() {
    let (broker, url) = broker();
    broker.cache.get(lookup(HOST)).await.unwrap();
    broker.source.fail(FailureClass::Denied);
    broker.cache.get(lookup(&host(7))).await.unwrap_err();

    let keys = broker.cache.keys(&KeyQuery::default()).await;
    assert_eq!(keys.backoffs, [(Some("eu-central-1".parse().unwrap()), 1)].into());
    assert_eq!(keys.shortest, Some(12 * HOUR));

    let reply = get(&url, "/status").await;
    let headers = reply.headers().clone();
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!((reply.status().as_u16(), header("content-type").as_str()), (200, "text/html; charset=utf-8"));
    assert_eq!((header("cache-control").as_str(), header("x-content-type-options").as_str()), ("no-store", "nosniff"));
    let policy = header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && policy.contains("form-action 'self'"));
    assert!(!policy.contains("unsafe") && !policy.contains("script"), "{policy}");
    let page = reply.text().await.unwrap();
    for part in ["account=123456789012", "account=000000000007", "AWS_ACCESS_DENIED", "no credential", "1 failing"] {
        assert!(page.contains(part), "{part}: {page}");
    }

    let json = json(&url, "/status.json").await;
    let registries: Vec<_> = json["keys"].as_array().unwrap().iter().map(|key| &key["registry"]).collect();
    assert_eq!(registries, [&host(7), HOST]);
    assert_eq!(json["keys"][0]["failure"]["reason"], "AWS_ACCESS_DENIED");
    let head = Client::new().request(Method::HEAD, format!("{url}/status")).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.text().await.unwrap().as_str()), (200, ""));
}

#[tokio::test]
async fn query_sorts_filters_and_pages() {
    let (broker, url) = broker();
    for number in 0..250 {
        broker.cache.get(lookup(&host(number))).await.unwrap();
    }
    broker.cache.get(lookup("public.ecr.aws")).await.unwrap();
    broker.cache.get(lookup(&host(123))).await.unwrap();
    let first = |status: &Value| status["keys"][0]["registry"].as_str().unwrap().to_owned();
    assert_eq!(first(&json(&url, "/status.json?order=hits").await), host(123));
    let one = json(&url, "/status.json?account=000000000042&region=eu-central-1&profile=default").await;
    assert_eq!((one["keys"].as_array().unwrap().len(), first(&one)), (1, host(42)));
    // What a browser sends for an empty form.
    let page = get(&url, "/status?order=registry&account=&region=eu-central-1&profile=").await.text().await.unwrap();
    assert!(page.contains("Keys 1 to 100 of 250") && page.contains("value=\"eu-central-1\""), "{page}");
    assert!(page.contains("<option value=\"registry\" selected>"), "{page}");
    let next = page.split_once("<a href=\"/status?order=registry&amp;region=eu-central-1&amp;page=").unwrap().1;
    let token = next.split_once('"').unwrap().0;
    let next = get(&url, &format!("/status?order=registry&region=eu-central-1&page={token}")).await;
    assert!(next.text().await.unwrap().contains("Keys 101 to 200 of 250"));
    assert_eq!(json(&url, "/status.json?limit=9999").await["keys"].as_array().unwrap().len(), 251);
}

#[tokio::test]
async fn page_refuses_a_malformed_query_without_repeating_it() {
    let (_broker, url) = broker();
    for query in ["region=%3Cscript%3Ealert(1)%3C/script%3E", "order=canary", "canary=1", "page=canary", "limit=canary"]
    {
        for page in ["/status", "/status.json"] {
            let reply = get(&url, &format!("{page}?{query}")).await;
            assert_eq!(
                (reply.status().as_u16(), &reply.headers()["content-type"]),
                (400, &"text/plain; charset=utf-8".parse().unwrap())
            );
            let text = reply.text().await.unwrap();
            assert!(!text.contains("script") && !text.contains("canary") && !text.contains('<'), "{text}");
        }
    }
}

/// Returns a client of the ops listener over TLS, with or without a certificate.
fn tls_client(ca: &Authority, pair: Option<&Pair>, address: SocketAddr) -> Client {
    let root = Certificate::from_pem(ca.pem().as_bytes()).unwrap();
    let client = Client::builder().no_proxy().tls_certs_only([root]).resolve(BROKER, address);
    let identity = pair.map(|pair| Identity::from_pem(format!("{}{}", pair.key, pair.certificate).as_bytes()).unwrap());
    identity.into_iter().fold(client, reqwest::ClientBuilder::identity).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_reads_the_page_beyond_loopback_by_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new(directory.path(), "ca.pem", "a");
    let (certificate, key) = ca.server().write(directory.path(), "server");
    let (config, audit) = (directory.path().join("broker.toml"), directory.path().join("audit.jsonl"));
    let text = format!(
        "audit.output = {audit:?}\nserver.ops_hosts = [\"{BROKER}\"]\n[server.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n\
         [authentication]\nclient_ca = {{ \"a.example\" = {:?} }}\n\
         [[grants]]\nid = \"ops\"\ncallers = [{{ spiffe = \"{RUNNER}\" }}]\noperator = true\n",
        ca.file
    );
    fs::write(&config, text).unwrap();
    let arguments = ["serve", "--simulate", "--listen", "127.0.0.1:0", "--config", config.to_str().unwrap()];
    let environment = [("ECR_BROKER_SERVER_OPS_LISTEN", "0.0.0.0:0")];
    let (server, address) = Server::start_with_second("ops+https://", &arguments, &environment);
    let address: SocketAddr = address.replace("0.0.0.0", "127.0.0.1").parse().unwrap();
    let url = format!("https://{BROKER}:{}/status", address.port());
    for (pair, expected) in [(Some(RUNNER), 200), (Some(OTHER), 403), (None, 403)] {
        let pair = pair.map(|id| ca.workload(id));
        let client = tls_client(&ca, pair.as_ref(), address);
        let reply = client.get(&url).send().await.unwrap();
        assert_eq!(reply.status().as_u16(), expected, "{pair:?}", pair = pair.is_some());
        assert_eq!(reply.text().await.unwrap().contains("<html"), expected == 200);
    }
    server.stop();
    let records = fs::read_to_string(&audit).unwrap();
    let denied: Vec<_> = records.lines().filter(|line| line.contains("\"denied\"")).collect();
    assert!(
        denied.len() == 1 && denied[0].contains(OTHER) && denied[0].contains("\"operation\":\"status\""),
        "{records}"
    );
}

#[test]
fn json_of_the_page_and_of_the_command_are_alike() {
    let (server, ops) = Server::start_with_ops(&program::SERVE_SIMULATED, &[]);
    let address = server.address.replace("grpc://", "http://");
    run(&["get", HOST, "--address", &address], &[]).out();
    let printed: Value =
        serde_json::from_str(&run(&["status", "-o", "json", "--address", &address], &[]).out()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let of_page = runtime.block_on(json(&format!("http://{ops}"), "/status.json"));
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&printed), keys(&of_page));
    assert_eq!(printed["keys"][0]["cached"]["expire_time"], of_page["keys"][0]["cached"]["expire_time"]);
}
