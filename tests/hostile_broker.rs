//! Clients and a program that answers at a broker's address without being one.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;

use std::fs;
use std::io::Write as _;
use std::pin::Pin;
use std::process::Stdio;

use ecr_broker::pb;
use ecr_broker::pb::registry_credentials_service_server::{
    RegistryCredentialsService, RegistryCredentialsServiceServer,
};
use ecr_broker::pb::watch_registry_credentials_response::Event;
use futures_util::Stream;
use program::{Ended, Following, program};
use serde_json::{Value, json};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

const ASKED: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const ALIAS: &str = "registry.corp.example";
/// Registries that a hostile answer may name: another login, docker's names for its hub, and texts that are not hosts.
const ANSWERS: [&str; 6] =
    ["ghcr.io", "https://index.docker.io/v1/", "*", "", "../../x", "999999999999.dkr.ecr.eu-central-1.amazonaws.com"];
/// A colour, a title, a line that looks like another command's, a C1 sequence and reordered text.
const EVIL: &str = "a\u{1b}[31mred\u{1b}]0;title\u{7}\r\necr-broker: all is well\u{9b}2J\u{202e}txet\u{2066}";

/// Answers every call with one registry, or with an error.
#[derive(Debug, Clone)]
struct Hostile {
    registry: String,
    endpoint: String,
    error: Option<String>,
}

impl Hostile {
    fn credentials(&self) -> Result<pb::RegistryCredentials, Status> {
        if let Some(error) = &self.error {
            return Err(Status::invalid_argument(error.clone()));
        }
        Ok(pb::RegistryCredentials {
            registry: self.registry.clone(),
            endpoint: self.endpoint.clone(),
            username: "AWS".to_owned(),
            password: "attacker".to_owned(),
            profile: EVIL.to_owned(),
            issue_time: Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 }),
            expire_time: Some(prost_types::Timestamp { seconds: 4_000_040_000, nanos: 0 }),
            refresh_after: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
            credential_id: EVIL.to_owned(),
            ..Default::default()
        })
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<pb::WatchRegistryCredentialsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl RegistryCredentialsService for Hostile {
    async fn get_registry_credentials(
        &self,
        _: Request<pb::GetRegistryCredentialsRequest>,
    ) -> Result<Response<pb::GetRegistryCredentialsResponse>, Status> {
        Ok(Response::new(pb::GetRegistryCredentialsResponse { credentials: Some(self.credentials()?) }))
    }

    async fn batch_get_registry_credentials(
        &self,
        request: Request<pb::BatchGetRegistryCredentialsRequest>,
    ) -> Result<Response<pb::BatchGetRegistryCredentialsResponse>, Status> {
        let credentials = self.credentials()?;
        let result = |_| pb::BatchResult { result: Some(pb::batch_result::Result::Credentials(credentials.clone())) };
        let results = request.get_ref().requests.iter().map(result).collect();
        Ok(Response::new(pb::BatchGetRegistryCredentialsResponse { results }))
    }

    type WatchRegistryCredentialsStream = Events;

    async fn watch_registry_credentials(
        &self,
        _: Request<pb::WatchRegistryCredentialsRequest>,
    ) -> Result<Response<Events>, Status> {
        let event = |event| Ok(pb::WatchRegistryCredentialsResponse { index: 0, event: Some(event) });
        let events = [Event::Credentials(self.credentials()?), Event::SnapshotComplete(pb::SnapshotComplete {})];
        Ok(Response::new(Box::pin(futures_util::stream::iter(events.map(event)))))
    }

    async fn list_registries(
        &self,
        _: Request<pb::ListRegistriesRequest>,
    ) -> Result<Response<pb::ListRegistriesResponse>, Status> {
        let target = Some(pb::registry_access::Target::Registry(self.registry.clone()));
        let expire_time = Some(prost_types::Timestamp { seconds: 4_000_040_000, nanos: 0 });
        let registries = vec![pb::RegistryAccess { target, expire_time, ..Default::default() }];
        Ok(Response::new(pb::ListRegistriesResponse { registries, next_page_token: String::new() }))
    }

    async fn get_caller_identity(
        &self,
        _: Request<pb::GetCallerIdentityRequest>,
    ) -> Result<Response<pb::GetCallerIdentityResponse>, Status> {
        let (principal, proof) = (EVIL.to_owned(), EVIL.to_owned());
        let grant_ids = vec![EVIL.to_owned()];
        Ok(Response::new(pb::GetCallerIdentityResponse { principal, proof, grant_ids, ..Default::default() }))
    }
}

/// Serves until the runtime ends, and returns the address.
fn serve(hostile: Hostile) -> String {
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = format!("http://{}", incoming.local_addr().unwrap());
    let service = RegistryCredentialsServiceServer::new(hostile);
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    address
}

fn answering(registry: &str) -> String {
    serve(Hostile { registry: registry.to_owned(), endpoint: String::new(), error: None })
}

/// Runs a command with an address and a text on stdin.
fn run(address: &str, arguments: &[&str], stdin: &str) -> Ended {
    let mut command = program(&[("ECR_BROKER_ADDRESS", address), ("ECR_BROKER_TIMEOUT", "5s")]);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn kubelet_request(image: &str) -> String {
    json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest", "image": image
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn answer_for_another_registry_reaches_no_output_of_any_client() {
    let (image, directory) = (format!("{ASKED}/team/app:v1"), tempfile::tempdir().unwrap());
    let file = directory.path().join("auth.json").to_str().unwrap().to_owned();
    let bazel = json!({ "uri": format!("https://{ASKED}/v2/") }).to_string();
    for answer in ANSWERS {
        let address = answering(answer);
        for form in ["text", "json", "password", "userpass", "docker-config", "env", "header", "k8s-secret"] {
            let name: &[&str] = if form == "k8s-secret" { &["--name", "x"] } else { &[] };
            let ended = run(&address, &[&["get", ASKED, "-o", form], name].concat(), "");
            assert!(ended.code == 1 && ended.stdout.is_empty(), "{answer} {form}: {ended:?}");
            assert!(ended.error().contains("it is for another registry"), "{answer} {form}: {ended:?}");
        }
        let batch = run(&address, &["get", ASKED, ALIAS, "-o", "json"], "");
        assert!(batch.code == 1 && batch.stdout.is_empty(), "{answer}: {batch:?}");
        for (arguments, stdin) in [
            (&["sync", "--once", ASKED, "--authfile", &file][..], ""),
            (&["watch", ASKED, "--show-secrets"], ""),
            (&["helper", "docker", "get"], ASKED),
            (&["helper", "kubelet"], &kubelet_request(&image)),
            (&["helper", "bazel", "get"], &bazel),
        ] {
            let ended = run(&address, arguments, stdin);
            assert!(ended.code == 1 && !ended.stdout.contains("attacker"), "{answer} {arguments:?}: {ended:?}");
            assert!(ended.stderr.contains("it is for another registry"), "{answer} {arguments:?}: {ended:?}");
        }
        assert!(!fs::exists(&file).unwrap(), "{answer}");
        if answer.parse::<ecr_broker::registry::Registry>().is_err() && answer != "ghcr.io" {
            let list = run(&address, &["helper", "docker", "list"], "");
            assert_eq!(list.stdout, "{}\n", "{answer}");
        }
    }
    // The right registry with the address of another one.
    let elsewhere = Hostile { registry: ASKED.to_owned(), endpoint: "https://evil.example".to_owned(), error: None };
    assert_eq!(run(&serve(elsewhere), &["get", ASKED, "-o", "json"], "").code, 1);
    let right = Hostile { registry: ASKED.to_owned(), endpoint: format!("https://{ASKED}"), error: None };
    let right = run(&serve(right), &["get", &image, "-o", "password"], "");
    assert_eq!(right.out(), "attacker\n", "the program sees no difference to a broker");
    assert_eq!(run(&answering(ALIAS), &["get", ALIAS, "-o", "password"], "").out(), "attacker\n");
}

/// `sync --merge` as root replaced the login of ghcr.io.
#[tokio::test(flavor = "multi_thread")]
async fn sync_of_all_grants_overwrites_no_entry_that_is_not_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("auth.json");
    let theirs =
        json!({ "auths": { "ghcr.io": { "auth": "eDp5" }, "https://index.docker.io/v1/": { "auth": "eDp5" } } });
    fs::write(&file, theirs.to_string()).unwrap();
    for (answer, problem) in
        [("ghcr.io", "the entry for ghcr.io is not sync's"), ("https://index.docker.io/v1/", "for another registry")]
    {
        let mut command = program(&[("ECR_BROKER_ADDRESS", &answering(answer))]);
        command.args(["sync", "--merge", "--authfile", file.to_str().unwrap()]);
        let mut sync = Following::start(command);
        sync.until(|line| line.contains(problem).then_some(()));
        assert!(sync.end("TERM").success());
        assert_eq!(serde_json::from_str::<Value>(&fs::read_to_string(&file).unwrap()).unwrap(), theirs, "{answer}");
    }
}

/// Any user of the host may listen on 127.0.0.1:50051 while the socket is missing.
#[test]
fn sync_and_helpers_use_loopback_only_if_it_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("auth.json").to_str().unwrap().to_owned();
    for (arguments, stdin) in [
        (&["sync", "--once", ASKED, "--authfile", &file][..], ""),
        (&["helper", "docker", "get"], ASKED),
        (&["helper", "docker", "list"], ""),
        (&["helper", "kubelet"], &kubelet_request(ASKED)),
        (&["helper", "bazel", "get"], &format!("{{\"uri\":\"https://{ASKED}/v2/\"}}")),
    ] {
        let runtime = directory.path().join("run").to_str().unwrap().to_owned();
        let mut command =
            program(&[("ECR_BROKER_TIMEOUT", "300ms"), ("XDG_RUNTIME_DIR", &runtime), ("XDG_CONFIG_HOME", "/no/such")]);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let sockets = format!("nor at unix:{runtime}/ecr-broker/broker.sock: ");
        assert!(stderr.contains("no broker answers at unix:/run/ecr-broker/broker.sock"), "{arguments:?}: {stderr}");
        assert!(stderr.contains(&sockets) && !stderr.contains("127.0.0.1"), "{arguments:?}: {stderr}");
    }
}

fn is_plain(text: &str) -> bool {
    text.chars().all(|letter| letter == '\n' || (' '..='~').contains(&letter))
}

#[tokio::test(flavor = "multi_thread")]
async fn control_characters_of_a_broker_reach_no_terminal() {
    let address = answering(ASKED);
    let text = run(&address, &["get", ASKED], "").out();
    assert!(is_plain(&text) && text.contains(r"profile        a\u{1b}[31mred"), "{text:?}");
    let json: Value = serde_json::from_str(&run(&address, &["get", ASKED, "-o", "json"], "").out()).unwrap();
    assert_eq!(json["profile"], EVIL, "forms for programs are exact");
    let whoami = run(&address, &["whoami"], "").out();
    assert!(is_plain(&whoami) && whoami.lines().count() == 3, "{whoami:?}");
    let doctor = run(&address, &["doctor", ASKED], "");
    assert!(is_plain(&doctor.stdout) && is_plain(&doctor.stderr), "{doctor:?}");

    let refusing = serve(Hostile { registry: String::new(), endpoint: String::new(), error: Some(EVIL.to_owned()) });
    for (arguments, stdin) in [
        (&["get", ASKED][..], ""),
        (&["watch", ASKED], ""),
        (&["helper", "docker", "get"], ASKED),
        (&["helper", "kubelet"], &kubelet_request(ASKED)),
        (&["doctor", ASKED], ""),
    ] {
        let ended = run(&refusing, arguments, stdin);
        assert!(is_plain(&ended.stdout) && is_plain(&ended.stderr), "{arguments:?}: {ended:?}");
        let is_shown = (ended.stdout + &ended.stderr).contains(r"\u{1b}[31mred");
        assert!(is_shown || arguments[0] == "doctor", "{arguments:?}");
    }
}
