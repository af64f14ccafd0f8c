//! Canary secrets (P10): the broker handles them in every way it can, at TRACE, and the test searches everything that it writes.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod certificates;
mod collector;
mod fake_aws;
mod keeper;
mod program;
mod scraped;
mod secrets;
mod support;
mod tokens;

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use certificates::{Authority, BROKER, RUNNER};
use collector::Collector;
use data_encoding::{BASE64, HEXLOWER};
use ecr_broker::clock::{Clock as _, SystemClock};
use ecr_broker::descriptor_store::{COPY_NAME, KEY_NAME};
use ecr_broker::pb;
use ecr_broker::pb::operator_service_client::OperatorServiceClient;
use fake_aws::{CANARY, FakeAws, FaultProxy};
use keeper::Keeper;
use program::{Server, program};
use scraped::Scraped;
use secrets::Secrets;
use support::{Client, HOST, request};
use tokens::{AUDIENCE, ISSUER, SUBJECT, Signer, bearing};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::sleep;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Makes every call, with valid and invalid requests; returns the number of credentials received.
async fn make_every_call(mut client: Client, token: &str, secrets: &mut Secrets) -> usize {
    let mut answers = 0;
    for round in 0..40 {
        let host = format!("{round:012}.dkr.ecr.eu-west-1.amazonaws.com");
        for registry in [HOST, "public.ecr.aws", &host, "ghcr.io", "nonsense"] {
            let request = pb::GetRegistryCredentialsRequest {
                rejected_credential_id: if round % 10 == 9 { "0".repeat(32) } else { String::new() },
                ..request(registry)
            };
            let mut request = bearing(token, request);
            let trace = format!("00-{:032x}-{:016x}-01", round + 1, round + 1);
            request.metadata_mut().insert("traceparent", trace.parse().unwrap());
            if let Ok(answer) = client.get_registry_credentials(request).await {
                let password = answer.into_inner().credentials.unwrap().password;
                if answers == 0 {
                    secrets.add_password(&password);
                }
                answers += 1;
            }
        }
        let requests = vec![request(HOST), request("ghcr.io")];
        _ = client
            .batch_get_registry_credentials(bearing(token, pb::BatchGetRegistryCredentialsRequest { requests }))
            .await;
        let requests = vec![request(HOST), request(&host), request("ghcr.io")];
        let watch = pb::WatchRegistryCredentialsRequest { requests, known_credential_ids: vec!["0".repeat(32)] };
        let mut events = client.watch_registry_credentials(bearing(token, watch)).await.unwrap().into_inner();
        for _ in 0..4 {
            assert!(events.message().await.unwrap().is_some(), "one event each, and the end of the snapshot");
        }
        _ = client.list_registries(bearing(token, pb::ListRegistriesRequest::default())).await;
        _ = client.get_caller_identity(bearing(token, pb::GetCallerIdentityRequest {})).await;
        _ = client.get_caller_identity(bearing(&format!("{token}x"), pb::GetCallerIdentityRequest {})).await;
        sleep(Duration::from_millis(20)).await;
    }
    answers
}

/// Asks the JSON API with valid and invalid requests, and returns the last valid answer.
async fn ask_for_json(socket: &Path, token: &str) -> String {
    let mut answer = String::new();
    for (target, token, body) in [
        ("/v1/credentials?registry=registry.example", token, ""),
        ("/v1/credentials", token, "{\"registry\": "),
        ("/v1/credentials", &token[1..], ""),
        ("/v2", token, ""),
        (&format!("/v1/credentials?registry={HOST}"), token, ""),
    ] {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let mut stream = UnixStream::connect(socket).await.unwrap();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        answer.clear();
        stream.read_to_string(&mut answer).await.unwrap();
    }
    answer
}

async fn connect(broker: &Server, ca: &Authority, identity: Option<Identity>) -> Channel {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca.pem())).domain_name(BROKER);
    let tls = identity.into_iter().fold(tls, ClientTlsConfig::identity);
    let uri = broker.address.replace("grpcs://", "https://");
    Endpoint::from_shared(uri).unwrap().tls_config(tls).unwrap().connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_no_secret_is_written_to_logs_spans_audit_or_files() {
    let outside = tempfile::tempdir().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (aws, collector) = (FakeAws::start(outside.path()).await, Collector::default());
    let proxy = FaultProxy::start(aws.address, 3).await;
    let (ca, signer) = (Authority::new(outside.path(), "ca.pem", "a"), Signer::new("k1"));
    let pair = ca.server();
    let (certificate, key) = pair.write(outside.path(), "server");
    let keys = outside.path().join("jwks.json");
    fs::write(&keys, signer.jwks()).unwrap();
    let (config, ops) = (outside.path().join("broker.toml"), outside.path().join("ops.sock"));
    let json = outside.path().join("json.sock");
    let text = format!(
        "experimental = [\"bearer-tokens\"]\naudit.output = \"{audit}\"\nserver.ops_listen = \"unix:{ops}\"\nserver.json_listen = \"unix:{json}\"\nmetrics.per_key = true\ncache.keep_warm = [\"{HOST}\", \"public.ecr.aws\"]\n\
         [server.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n\
         [authentication]\nclient_ca = {{ \"a.example\" = {ca:?} }}\n\
         [[authentication.jwt]]\nname = \"blue\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks_file = {keys:?}\n\
         [[grants]]\nid = \"short\"\ncallers = [{{ jwt = \"blue\", subject = \"{SUBJECT}\" }}]\nmax_lifetime = \"15m\"\n\
         registries = [{{ accounts = [\"000000000003\", \"000000000007\", \"000000000013\"], regions = [\"*\"] }}]\n\
         [[grants]]\nid = \"all\"\ncallers = [{{ jwt = \"blue\", subject = \"{SUBJECT}\" }}, {{ spiffe = \"{RUNNER}\" }}]\n\
         registries = [{{ accounts = [\"*\"], regions = [\"*\"] }}, {{ public = true }}]\n\
         [[grants]]\nid = \"ops\"\ncallers = [{{ spiffe = \"{RUNNER}\" }}]\noperator = true\n",
        audit = directory.path().join("audit.log").display(),
        ops = ops.display(),
        json = json.display(),
        ca = ca.file,
    );
    fs::write(&config, text).unwrap();

    let now = SystemClock::new().now().wall.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let token = signer.token(ISSUER, SUBJECT, now);
    let workload = ca.workload(RUNNER);
    let mut secrets = Secrets::default();
    secrets.add("a canary", CANARY);
    // The prefix has a multiple of three bytes, so the canary's Base64 is the same everywhere.
    secrets.add("a token of AWS's", &BASE64.encode(format!("AWS:{CANARY}").as_bytes())[..20]);
    secrets.add_bearer_token(&token);
    secrets.add_private_key(&pair.key);

    let endpoint = collector.over_grpc().await;
    let mut environment = aws.environment(proxy.port);
    environment.push(("RUST_LOG", "trace".to_owned()));
    environment.push(("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint));
    environment.push(("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()));
    environment.push(("OTEL_METRICS_EXPORTER", "otlp".to_owned()));
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut command = program(&environment);
    let socket = format!("unix:{}", outside.path().join("broker.sock").display());
    command.args(["serve", "--listen", "127.0.0.1:0", "--listen", &socket, "--config", config.to_str().unwrap()]);
    command.current_dir(directory.path()).env("HOME", directory.path());
    // Only root's service manager keeps descriptors.
    let mut keeper = Keeper::start();
    let service = keeper.as_ref().map(|keeper| keeper.service(&command));
    let broker = Server::spawn_logging(service.unwrap_or(command));

    let answers = make_every_call(Client::new(connect(&broker, &ca, None).await), &token, &mut secrets).await;
    assert!(answers > 20, "{answers}");
    let answer = ask_for_json(&json, &token).await;
    assert!(answer.contains("\"password\":") && answer.contains("dockerconfigjson"), "{answer}");
    let identity = Identity::from_pem(&workload.certificate, &workload.key);
    let channel = connect(&broker, &ca, Some(identity)).await;
    let mut by_certificate = Client::new(channel.clone());
    by_certificate.get_registry_credentials(request(HOST)).await.unwrap();
    let status = OperatorServiceClient::new(channel).get_status(pb::GetStatusRequest::default()).await.unwrap();
    let status = format!("{:?}", status.into_inner());
    assert!(status.contains(HOST) && status.contains("hits"), "{status}");
    secrets.search("the status", &status);
    secrets.search_ops(&ops).await;
    secrets.search_commands(config.to_str().unwrap(), &socket);
    let metrics = Scraped::from_socket(&ops).text;
    assert!(metrics.contains("account_id=\"123456789012\"") && metrics.contains("outcome=\"hit\""), "{metrics}");
    secrets.search("the metrics", &metrics);
    for caller in [SUBJECT, RUNNER, "a.example", "uid:"] {
        assert!(!metrics.contains(caller), "{caller} is in the metrics: {metrics}");
    }
    let logs = broker.stop();

    for logged in ["credential fetched", "AWS is unreachable", "DEBUG"] {
        assert!(logs.contains(logged), "{logged} is not in the log, so the search would prove nothing");
    }
    if let Some(keeper) = &mut keeper {
        assert_eq!(keeper.handle(), [COPY_NAME, KEY_NAME]);
        let (copy, key) = (keeper.contents(COPY_NAME), keeper.contents(KEY_NAME));
        assert!(copy.len() > 20 * 1_000 && key.len() >= 40, "{} {}", copy.len(), key.len());
        secrets.search("the descriptor store", &String::from_utf8_lossy(&copy));
        secrets.search("the descriptor store's key", &String::from_utf8_lossy(&key));
        secrets.add("the descriptor store's key", &HEXLOWER.encode(&key[8..40]));
    }
    secrets.search("the log", &logs);
    let spans = collector.everything();
    assert!(spans.contains("GetAuthorizationToken") && spans.contains("ecr_broker_credentials"));
    assert!(spans.contains("Signin/CreateBearerToken"), "no short-lived token was fetched");
    secrets.search("the spans and the pushed metrics", &spans);
    let files = secrets.search_directory(directory.path());
    assert!(files >= 1, "the audit log at least");
}
