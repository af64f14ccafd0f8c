//! Canary secrets (P10): the broker handles them in every way it can, at TRACE, and the test searches everything that it writes.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod certificates;
mod collector;
mod fake_aws;
mod keeper;
mod program;
mod scraped;
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
use program::{Server, program, run};
use scraped::Scraped;
use support::{Client, HOST, request};
use tokens::{AUDIENCE, ISSUER, SUBJECT, Signer, bearing};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::sleep;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Secrets that must not be found anywhere, each with its description.
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn add(&mut self, what: &'static str, secret: &str) {
        assert!(secret.len() >= 12, "{what}: {secret}");
        self.0.push((what, secret.to_owned()));
    }

    fn search(&self, place: &str, text: &str) {
        for (what, secret) in &self.0 {
            let found = text.lines().find(|line| line.contains(secret));
            assert!(found.is_none(), "{what} in {place}: {}", found.unwrap_or_default());
        }
    }

    /// Searches all files but those that the test made; returns their number.
    fn search_directory(&self, directory: &Path, own: &[&str]) -> usize {
        let mut files = 0;
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            if path.is_dir() {
                files += self.search_directory(&path, own);
            } else if path.is_file() && !own.contains(&name.as_str()) {
                self.search(&name, &String::from_utf8_lossy(&fs::read(&path).unwrap()));
                files += 1;
            }
        }
        files
    }
}

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
                    // The end of the password is unique, and survives a different encoding of its start.
                    secrets.add("the password's end", &password[password.len() - 40..]);
                    secrets.add("the token's end", &BASE64.encode(format!("AWS:{password}").as_bytes())[1_000..1_040]);
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

/// Returns the answer of a page on the ops listener's Unix socket, with its headers.
async fn http_get(socket: &Path, page: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream
        .write_all(format!("GET {page} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Searches every page of the ops listener.
async fn search_ops(socket: &Path, secrets: &Secrets) {
    for (page, expected) in [
        ("/livez", "200 OK"),
        ("/readyz", "200 OK"),
        ("/readyz?verbose", "[+]"),
        ("/metrics", "ecr_broker_credentials_total"),
        ("/status", "eu-central-1"),
        ("/status?order=hits&limit=1", "200 OK"),
        ("/status?failing=1", "200 OK"),
        ("/status.json", "eu-central-1"),
        ("/status.json?order=failure&profile=default", "eu-central-1"),
        ("/status?page=nonsense", "400 Bad Request"),
        ("/nonsense", "404 Not Found"),
    ] {
        let text = http_get(socket, page).await;
        assert!(text.contains(expected), "{page}: {text}");
        secrets.search(page, &text);
    }
}

/// Searches what the commands for operators print.
fn search_commands(config: &str, socket: &str, secrets: &Secrets) {
    let status = ["status", "--address", socket, "-o"];
    let [live, contain] = ["live", "contain"].map(|command| ["audit", command, "--config", config, "-o"]);
    for (arguments, expected) in [(&status[..], HOST), (&live, HOST), (&contain, "\"credentials\"")] {
        for output in ["text", "json"] {
            let printed = run(&[arguments, &[output]].concat(), &[]).out();
            assert!(printed.contains(expected) || output == "text", "{arguments:?}: {printed}");
            secrets.search(&arguments.join(" "), &printed);
        }
    }
}

fn private_key(pem: &str) -> &str {
    pem.lines().nth(1).unwrap()
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
    let text = format!(
        "audit.output = \"{audit}\"\nserver.ops_listen = \"unix:{ops}\"\nmetrics.per_key = true\ncache.keep_warm = [\"{HOST}\", \"public.ecr.aws\"]\n\
         [server.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n\
         [authentication]\nclient_ca = {{ \"a.example\" = {ca:?} }}\n\
         [[authentication.jwt]]\nname = \"blue\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks_file = {keys:?}\n\
         [[grants]]\nid = \"all\"\ncallers = [{{ jwt = \"blue\", subject = \"{SUBJECT}\" }}, {{ spiffe = \"{RUNNER}\" }}]\n\
         registries = [{{ accounts = [\"*\"], regions = [\"*\"] }}, {{ public = true }}]\n\
         [[grants]]\nid = \"ops\"\ncallers = [{{ spiffe = \"{RUNNER}\" }}]\noperator = true\n",
        audit = directory.path().join("audit.log").display(),
        ops = ops.display(),
        ca = ca.file,
    );
    fs::write(&config, text).unwrap();

    let now = SystemClock::new().now().wall.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let token = signer.token(ISSUER, SUBJECT, now);
    let workload = ca.workload(RUNNER);
    let mut secrets = Secrets(Vec::new());
    secrets.add("a canary", CANARY);
    // The prefix has a multiple of three bytes, so the canary's Base64 is the same everywhere.
    secrets.add("a token of AWS's", &BASE64.encode(format!("AWS:{CANARY}").as_bytes())[..20]);
    secrets.add("a bearer token", token.rsplit('.').next().unwrap());
    secrets.add("a bearer token's claims", token.split('.').nth(1).unwrap());
    secrets.add("the broker's private key", private_key(&pair.key));

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
    let identity = Identity::from_pem(&workload.certificate, &workload.key);
    let channel = connect(&broker, &ca, Some(identity)).await;
    let mut by_certificate = Client::new(channel.clone());
    by_certificate.get_registry_credentials(request(HOST)).await.unwrap();
    let status = OperatorServiceClient::new(channel).get_status(pb::GetStatusRequest::default()).await.unwrap();
    let status = format!("{:?}", status.into_inner());
    assert!(status.contains(HOST) && status.contains("hits"), "{status}");
    secrets.search("the status", &status);
    search_ops(&ops, &secrets).await;
    search_commands(config.to_str().unwrap(), &socket, &secrets);
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
    secrets.search("the spans and the pushed metrics", &spans);
    let files = secrets.search_directory(directory.path(), &[]);
    assert!(files >= 1, "the audit log at least");
}
