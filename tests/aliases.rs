//! Hosts of one's own before ECR's: the broker answers for the registry behind, by the name that was asked for.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use program::{Ended, Following, PROGRAM, Server, program, run};
use serde_json::{Value, json};

const HELPER: &str = env!("CARGO_BIN_EXE_docker-credential-ecr-broker");
const ALIAS: &str = "registry.corp.example";
const PORT: &str = "proxy.corp.example";
const FORBIDDEN: &str = "secret.corp.example";
const BEHIND: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";

struct Place {
    directory: tempfile::TempDir,
    broker: Server,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = format!(
            "[aliases]\n\"{ALIAS}\" = \"{BEHIND}\"\n\"{PORT}:5000\" = \"{BEHIND}\"\n\"{FORBIDDEN}\" = \"210987654321.dkr.ecr.us-east-1.amazonaws.com\"\n\
             [[grants]]\nid = \"a\"\ncallers = [{{ uid = {} }}]\nregistries = [{{ accounts = [\"123456789012\"], regions = [\"*\"] }}]\n",
            fs::metadata(directory.path()).unwrap().uid()
        );
        let file = directory.path().join("broker.toml");
        fs::write(&file, config).unwrap();
        let listen = format!("unix:{}", directory.path().join("broker.sock").display());
        let arguments = ["serve", "--simulate", "--config", file.to_str().unwrap(), "--listen", &listen];
        Self { broker: Server::start(&arguments, &[]), directory }
    }

    fn text(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        run(arguments, &[("ECR_BROKER_ADDRESS", &self.broker.address)])
    }

    fn json(&self, registry: &str) -> Value {
        serde_json::from_str(&self.run(&["get", registry, "-o", "json"]).out()).unwrap()
    }

    fn ask(&self, program: &str, arguments: &[&str], question: &str) -> Ended {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("ECR_BROKER_ADDRESS", &self.broker.address);
        answer(command, question)
    }
}

fn answer(mut command: Command, question: &str) -> Ended {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(question.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn an_alias_is_answered_by_its_own_name_with_what_the_registry_behind_it_takes() {
    let place = Place::new();
    let (behind, alias) =
        (place.json(BEHIND), place.json(&format!("https://{}:443/v2/team/app", ALIAS.to_uppercase())));
    assert_eq!((&alias["registry"], &alias["endpoint"]), (&ALIAS.into(), &format!("https://{ALIAS}").into()));
    for same in ["password", "credential_id", "account_id", "region", "registry_type"] {
        assert_eq!(alias[same], behind[same], "{same}");
    }
    assert_eq!(alias["cache_status"], "HIT", "one credential under both names");
}

#[test]
fn an_alias_of_what_one_may_not_have_says_nothing_of_what_is_behind_it() {
    let place = Place::new();
    let denied = place.run(&["get", FORBIDDEN]);
    assert!(denied.code == 4 && denied.error().contains("CALLER_NOT_ALLOWED"), "{denied:?}");
    let mut watch = program(&[("ECR_BROKER_ADDRESS", &place.broker.address)]);
    let watch = watch.args(["watch", FORBIDDEN]).stdout(Stdio::piped()).spawn().unwrap();
    let mut watch = Killed(watch);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(watch.0.stdout.take().unwrap()), &mut line).unwrap();
    assert!(line.contains(FORBIDDEN) && !line.contains("210987654321"), "{line}");
    let unknown = place.run(&["get", "other.corp.example"]);
    assert!(unknown.code == 3 && unknown.error().contains("REGISTRY_NOT_ECR"), "{unknown:?}");
}

struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn docker_kubelet_and_bazel_are_answered_for_an_alias_and_for_no_other_host() {
    let place = Place::new();
    let password = place.json(BEHIND)["password"].clone();
    let docker = |server: &str| place.ask(HELPER, &["get"], server);
    let login: Value = serde_json::from_str(&docker(ALIAS).out()).unwrap();
    assert_eq!(login, json!({ "ServerURL": ALIAS, "Username": "AWS", "Secret": password }));
    assert_eq!(docker("docker.io").stdout, "credentials not found in native keychain\n");
    let denied = docker(FORBIDDEN);
    assert!(denied.code == 1 && denied.stdout.contains("CALLER_NOT_ALLOWED"), "{denied:?}");
    let listed: Value = serde_json::from_str(&place.ask(HELPER, &["list"], "").out_anyway()).unwrap();
    let names = [ALIAS, BEHIND, "proxy.corp.example:5000"].map(|name| (format!("https://{name}"), "AWS".into()));
    assert_eq!(listed, Value::Object(names.into_iter().collect()));

    let kubelet = |image: &str| {
        let question = json!({
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest", "image": image
        });
        place.ask(PROGRAM, &["helper", "kubelet"], &question.to_string())
    };
    let answer: Value = serde_json::from_str(&kubelet(&format!("{ALIAS}/team/app:1")).out()).unwrap();
    assert_eq!(answer["auth"], json!({ ALIAS: { "username": "AWS", "password": password } }));
    let hub = run(&["configure", "docker", "docker.io/x", "--file", &place.text("config.json")], &[]);
    assert!(hub.code == 1 && hub.error().contains("Docker Hub"), "{hub:?}");
    let other = kubelet("ghcr.io/x");
    assert!(
        other.code == 0 && other.stdout.contains("\"auth\":null") && other.stderr.contains("matchImages"),
        "{other:?}"
    );
    assert_eq!(kubelet(&format!("{FORBIDDEN}/x")).code, 1);

    let bazel = |uri: &str| place.ask(PROGRAM, &["helper", "bazel", "get"], &json!({ "uri": uri }).to_string());
    assert!(bazel(&format!("https://{ALIAS}/v2/")).out().contains("Basic "));
    for uri in
        ["https://prod-eu-central-1-starport-layer-bucket.s3.amazonaws.com/x", "http://registry.corp.example/v2/"]
    {
        assert_eq!(bazel(uri).out(), "{}\n", "{uri}");
    }
}

/// A broker that is there and refuses this caller says nothing of what it was asked about.
#[test]
fn where_the_broker_does_not_take_the_caller_other_registries_are_nobody_s_business() {
    let place = Place::new();
    fs::write(place.text("token"), "no-token").unwrap();
    let ask = |program: &str, arguments: &[&str], question: &str| {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("ECR_BROKER_ADDRESS", &place.broker.address);
        command.env("ECR_BROKER_TOKEN_FILE", place.text("token"));
        answer(command, question)
    };
    let ecrs = ask(HELPER, &["get"], BEHIND);
    assert!(ecrs.code == 1 && ecrs.stdout.contains("CALLER_UNAUTHENTICATED"), "{ecrs:?}");
    let other = ask(HELPER, &["get"], "ghcr.io");
    assert_eq!((other.code, other.stdout.as_str()), (1, "credentials not found in native keychain\n"));
    assert!(other.stderr.contains("CALLER_UNAUTHENTICATED"), "{other:?}");
    let bazel = |uri: &str| ask(PROGRAM, &["helper", "bazel", "get"], &json!({ "uri": uri }).to_string());
    assert_eq!(bazel("https://example.com/x").out_anyway(), "{}\n");
    assert_eq!(bazel(&format!("https://{BEHIND}/v2/")).code, 1);
}

#[test]
fn a_login_that_somebody_has_stored_goes_before_a_refusal() {
    let place = Place::new();
    let logins = json!({ "auths": { FORBIDDEN: { "auth": "bWU6aGlkZGVu" } } });
    fs::write(place.text("logins.json"), logins.to_string()).unwrap();
    fs::create_dir(place.text("ecr-broker")).unwrap();
    fs::write(place.text("ecr-broker/client.toml"), format!("next = {:?}\n", place.text("logins.json"))).unwrap();
    let mut command = Command::new(HELPER);
    command.arg("get").env_clear().env("ECR_BROKER_ADDRESS", &place.broker.address);
    command.env("XDG_CONFIG_HOME", place.directory.path());
    let login: Value = serde_json::from_str(&answer(command, FORBIDDEN).out()).unwrap();
    assert_eq!(login, json!({ "ServerURL": FORBIDDEN, "Username": "me", "Secret": "hidden" }));
}

#[test]
fn an_alias_has_its_own_port() {
    let place = Place::new();
    let at = format!("{PORT}:5000");
    assert_eq!(place.json(&format!("https://{at}/v2/"))["registry"], at.as_str());
    for elsewhere in [PORT.to_owned(), format!("{PORT}:5001"), format!("{ALIAS}:5000")] {
        let ended = place.run(&["get", &elsewhere]);
        assert!(ended.code == 3 && ended.error().contains("REGISTRY_NOT_ECR"), "{ended:?}");
    }
    let question = json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest", "image": format!("{at}/app:1")
    });
    let kubelet = place.ask(PROGRAM, &["helper", "kubelet"], &question.to_string()).out();
    let kubelet: Value = serde_json::from_str(&kubelet).unwrap();
    assert!(kubelet["auth"].get(&at).is_some(), "{kubelet}");
    let docker = place.text("config.json");
    run(&["configure", "docker", &at, "--file", &docker], &[]);
    let written: Value = serde_json::from_str(&fs::read_to_string(&docker).unwrap()).unwrap();
    assert_eq!(written, json!({ "credHelpers": { at: "ecr-broker" } }));
}

#[test]
fn where_no_broker_answers_other_registries_are_nobody_s_business() {
    let mut place = Place::new();
    place.broker.address = "http://127.0.0.1:1".into();
    let docker = place.ask(HELPER, &["get"], "ghcr.io");
    assert_eq!((docker.code, docker.stdout.as_str()), (1, "credentials not found in native keychain\n"));
    assert!(docker.stderr.contains("no broker answers"), "{docker:?}");
    let bazel = place.ask(PROGRAM, &["helper", "bazel", "get"], "{\"uri\":\"https://example.com/\"}");
    assert_eq!(bazel.out_anyway(), "{}\n");
    let question = json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest", "image": "ghcr.io/x"
    });
    let kubelet = place.ask(PROGRAM, &["helper", "kubelet"], &question.to_string());
    assert!(kubelet.code == 0 && kubelet.stdout.contains("\"auth\":null"), "{kubelet:?}");
}

#[test]
fn an_alias_is_listed_watched_and_kept_in_a_file() {
    let place = Place::new();
    let authfile = place.text("auth.json");
    let mut sync = program(&[("ECR_BROKER_ADDRESS", &place.broker.address)]);
    sync.args(["sync", "--authfile", &authfile, "--on-change", "tr -d ' \\n' <$ECR_SYNC_FILE; echo"]);
    let mut sync = Following::start(sync);
    sync.until(|line| line.contains(&format!("\"{ALIAS}\":{{\"auth\":\"QVdTO")).then_some(()));
    assert!(sync.end("TERM").success());
    place.run(&["sync", "--once", ALIAS, "--authfile", &authfile]).out();
    let config: Value = serde_json::from_str(&fs::read_to_string(&authfile).unwrap()).unwrap();
    assert_eq!(config["auths"].as_object().unwrap().keys().collect::<Vec<_>>(), [ALIAS]);
}

#[test]
fn the_policy_is_explained_for_an_alias_and_tools_are_configured_for_one() {
    let place = Place::new();
    let (config, docker) = (place.text("broker.toml"), place.text("config.json"));
    let uid = fs::metadata(place.directory.path()).unwrap().uid();
    let caller = format!("uid:{uid},gid:{uid}");
    for (host, code) in [(ALIAS, 0), (FORBIDDEN, 4), ("ghcr.io", 3)] {
        let ended = run(&["policy", "explain", "--config", &config, "--caller", &caller, host], &[]);
        assert_eq!(ended.code, code, "{ended:?}");
    }
    let ended = run(&["configure", "docker", ALIAS, "--file", &docker], &[]);
    assert!(ended.code == 0 && ended.error().contains("the broker's [aliases] name it"), "{ended:?}");
    let written: Value = serde_json::from_str(&fs::read_to_string(&docker).unwrap()).unwrap();
    assert_eq!(written, json!({ "credHelpers": { ALIAS: "ecr-broker" } }));
}
