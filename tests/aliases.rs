//! Aliases: the broker returns the credential of the registry behind an alias under the alias.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use program::{Ended, Following, PROGRAM, Server, program, run};
use serde_json::{Value, json};

const HELPER: &str = env!("CARGO_BIN_EXE_docker-credential-ecr-broker");
const ALIAS: &str = "registry.corp.example";
const PORT: &str = "proxy.corp.example";
const FORBIDDEN: &str = "secret.corp.example";
const BEHIND: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";

/// A broker with aliases, and its directory.
struct Setup {
    directory: tempfile::TempDir,
    broker: Server,
}

impl Setup {
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

    fn run_helper(&self, program: &str, arguments: &[&str], input: &str) -> Ended {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("ECR_BROKER_ADDRESS", &self.broker.address);
        run_with_input(command, input)
    }
}

fn run_with_input(mut command: Command, input: &str) -> Ended {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn alias_returns_its_registry_s_credential_under_its_own_name() {
    let setup = Setup::new();
    let (behind, alias) =
        (setup.json(BEHIND), setup.json(&format!("https://{}:443/v2/team/app", ALIAS.to_uppercase())));
    assert_eq!((&alias["registry"], &alias["endpoint"]), (&ALIAS.into(), &format!("https://{ALIAS}").into()));
    for same in ["password", "credential_id", "account_id", "region", "registry_type"] {
        assert_eq!(alias[same], behind[same], "{same}");
    }
    assert_eq!(alias["cache_status"], "HIT", "both names have one credential");
}

#[test]
fn denied_alias_does_not_reveal_its_registry() {
    let setup = Setup::new();
    let denied = setup.run(&["get", FORBIDDEN]);
    assert!(denied.code == 4 && denied.error().contains("CALLER_NOT_ALLOWED"), "{denied:?}");
    let mut watch = program(&[("ECR_BROKER_ADDRESS", &setup.broker.address)]);
    let watch = watch.args(["watch", FORBIDDEN]).stdout(Stdio::piped()).spawn().unwrap();
    let mut watch = Killed(watch);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(watch.0.stdout.take().unwrap()), &mut line).unwrap();
    assert!(line.contains(FORBIDDEN) && !line.contains("210987654321"), "{line}");
    let unknown = setup.run(&["get", "other.corp.example"]);
    assert!(unknown.code == 3 && unknown.error().contains("REGISTRY_NOT_ECR"), "{unknown:?}");
}

/// A process that is killed on drop.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn helpers_return_credentials_for_aliases_and_no_other_host() {
    let setup = Setup::new();
    let password = setup.json(BEHIND)["password"].clone();
    let docker = |server: &str| setup.run_helper(HELPER, &["get"], server);
    let credential: Value = serde_json::from_str(&docker(ALIAS).out()).unwrap();
    assert_eq!(credential, json!({ "ServerURL": ALIAS, "Username": "AWS", "Secret": password }));
    assert_eq!(docker("docker.io").stdout, "credentials not found in native keychain\n");
    let denied = docker(FORBIDDEN);
    assert!(denied.code == 1 && denied.stderr.contains("CALLER_NOT_ALLOWED"), "{denied:?}");
    let listed: Value = serde_json::from_str(&setup.run_helper(HELPER, &["list"], "").out_anyway()).unwrap();
    let names = [ALIAS, BEHIND, "proxy.corp.example:5000"].map(|name| (format!("https://{name}"), "AWS".into()));
    assert_eq!(listed, Value::Object(names.into_iter().collect()));

    let kubelet = |image: &str| {
        let request = json!({
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest", "image": image
        });
        setup.run_helper(PROGRAM, &["helper", "kubelet"], &request.to_string())
    };
    let response: Value = serde_json::from_str(&kubelet(&format!("{ALIAS}/team/app:1")).out()).unwrap();
    assert_eq!(response["auth"], json!({ ALIAS: { "username": "AWS", "password": password } }));
    let hub = run(&["configure", "docker", "docker.io/x", "--file", &setup.text("config.json")], &[]);
    assert!(hub.code == 3 && hub.error().contains("Docker Hub"), "{hub:?}");
    let other = kubelet("ghcr.io/x");
    assert!(
        other.code == 0 && other.stdout.contains("\"auth\":null") && other.stderr.contains("matchImages"),
        "{other:?}"
    );
    assert_eq!(kubelet(&format!("{FORBIDDEN}/x")).code, 1);

    let bazel = |uri: &str| setup.run_helper(PROGRAM, &["helper", "bazel", "get"], &json!({ "uri": uri }).to_string());
    assert!(bazel(&format!("https://{ALIAS}/v2/")).out().contains("Basic "));
    for uri in
        ["https://prod-eu-central-1-starport-layer-bucket.s3.amazonaws.com/x", "http://registry.corp.example/v2/"]
    {
        assert_eq!(bazel(uri).out(), "{}\n", "{uri}");
    }
}

/// A broker that rejects the caller does not say which hosts are aliases.
#[test]
fn helpers_skip_other_registries_if_the_caller_is_rejected() {
    let setup = Setup::new();
    fs::write(setup.text("token"), "no-token").unwrap();
    let run_helper = |program: &str, arguments: &[&str], input: &str| {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("ECR_BROKER_ADDRESS", &setup.broker.address);
        command.env("ECR_BROKER_TOKEN_FILE", setup.text("token"));
        run_with_input(command, input)
    };
    let of_ecr = run_helper(HELPER, &["get"], BEHIND);
    assert!(of_ecr.code == 1 && of_ecr.stderr.contains("CALLER_UNAUTHENTICATED"), "{of_ecr:?}");
    let other = run_helper(HELPER, &["get"], "ghcr.io");
    assert_eq!((other.code, other.stdout.as_str()), (1, "credentials not found in native keychain\n"));
    assert!(other.stderr.contains("CALLER_UNAUTHENTICATED"), "{other:?}");
    let bazel = |uri: &str| run_helper(PROGRAM, &["helper", "bazel", "get"], &json!({ "uri": uri }).to_string());
    assert_eq!(bazel("https://example.com/x").out_anyway(), "{}\n");
    assert_eq!(bazel(&format!("https://{BEHIND}/v2/")).code, 1);
}

#[test]
fn stored_credential_takes_precedence_over_a_denied_alias() {
    let setup = Setup::new();
    let auth_file = json!({ "auths": { FORBIDDEN: { "auth": "bWU6aGlkZGVu" } } });
    fs::write(setup.text("logins.json"), auth_file.to_string()).unwrap();
    fs::create_dir(setup.text("ecr-broker")).unwrap();
    fs::write(setup.text("ecr-broker/client.toml"), format!("next = {:?}\n", setup.text("logins.json"))).unwrap();
    let mut command = Command::new(HELPER);
    command.arg("get").env_clear().env("ECR_BROKER_ADDRESS", &setup.broker.address);
    command.env("XDG_CONFIG_HOME", setup.directory.path());
    let credential: Value = serde_json::from_str(&run_with_input(command, FORBIDDEN).out()).unwrap();
    assert_eq!(credential, json!({ "ServerURL": FORBIDDEN, "Username": "me", "Secret": "hidden" }));
}

#[test]
fn alias_matches_its_port_only() {
    let setup = Setup::new();
    let at = format!("{PORT}:5000");
    assert_eq!(setup.json(&format!("https://{at}/v2/"))["registry"], at.as_str());
    for elsewhere in [PORT.to_owned(), format!("{PORT}:5001"), format!("{ALIAS}:5000")] {
        let ended = setup.run(&["get", &elsewhere]);
        assert!(ended.code == 3 && ended.error().contains("REGISTRY_NOT_ECR"), "{ended:?}");
    }
    let request = json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest", "image": format!("{at}/app:1")
    });
    let kubelet = setup.run_helper(PROGRAM, &["helper", "kubelet"], &request.to_string()).out();
    let kubelet: Value = serde_json::from_str(&kubelet).unwrap();
    assert!(kubelet["auth"].get(&at).is_some(), "{kubelet}");
    let docker = setup.text("config.json");
    run(&["configure", "docker", &at, "--file", &docker], &[]);
    let written: Value = serde_json::from_str(&fs::read_to_string(&docker).unwrap()).unwrap();
    assert_eq!(written, json!({ "credHelpers": { at: "ecr-broker" } }));
}

#[test]
fn helpers_skip_other_registries_if_no_broker_answers() {
    let run_helper = |program: &str, arguments: &[&str], input: &str| {
        let mut command = Command::new(program);
        command.args(arguments).env_clear();
        command.envs([("ECR_BROKER_ADDRESS", "http://127.0.0.1:1"), ("ECR_BROKER_TIMEOUT", "1s")]);
        run_with_input(command, input)
    };
    let docker = run_helper(HELPER, &["get"], "ghcr.io");
    assert_eq!((docker.code, docker.stdout.as_str()), (1, "credentials not found in native keychain\n"));
    assert!(docker.stderr.contains("no broker answers"), "{docker:?}");
    let bazel = run_helper(PROGRAM, &["helper", "bazel", "get"], "{\"uri\":\"https://example.com/\"}");
    assert_eq!(bazel.out_anyway(), "{}\n");
    let request = json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest", "image": "ghcr.io/x"
    });
    let kubelet = run_helper(PROGRAM, &["helper", "kubelet"], &request.to_string());
    assert!(kubelet.code == 0 && kubelet.stdout.contains("\"auth\":null"), "{kubelet:?}");
}

#[test]
fn alias_is_listed_watched_and_synced() {
    let setup = Setup::new();
    let authfile = setup.text("auth.json");
    let mut sync = program(&[("ECR_BROKER_ADDRESS", &setup.broker.address)]);
    sync.args(["sync", "--authfile", &authfile, "--on-change", "tr -d ' \\t\\n' <$ECR_SYNC_FILE; echo"]);
    let mut sync = Following::start(sync);
    sync.until(|line| line.contains(&format!("\"{ALIAS}\":{{\"auth\":\"QVdTO")).then_some(()));
    assert!(sync.end("TERM").success());
    setup.run(&["sync", "--once", ALIAS, "--authfile", &authfile]).out();
    let config: Value = serde_json::from_str(&fs::read_to_string(&authfile).unwrap()).unwrap();
    assert_eq!(config["auths"].as_object().unwrap().keys().collect::<Vec<_>>(), [ALIAS]);
}

#[test]
fn policy_explain_and_configure_accept_an_alias() {
    let setup = Setup::new();
    let (config, docker) = (setup.text("broker.toml"), setup.text("config.json"));
    let uid = fs::metadata(setup.directory.path()).unwrap().uid();
    let caller = format!("uid:{uid},gid:{uid}");
    for (host, code) in [(ALIAS, 0), (FORBIDDEN, 4), ("ghcr.io", 3)] {
        let ended = run(&["policy", "explain", "--config", &config, "--caller", &caller, host], &[]);
        assert_eq!(ended.code, code, "{ended:?}");
    }
    let directory = Path::new(PROGRAM).parent().unwrap().to_str().unwrap();
    let ended = run(&["configure", "docker", ALIAS, "--file", &docker], &[("PATH", directory)]);
    assert!(ended.code == 0 && ended.error().contains("the broker's [aliases] name it"), "{ended:?}");
    let written: Value = serde_json::from_str(&fs::read_to_string(&docker).unwrap()).unwrap();
    assert_eq!(written, json!({ "credHelpers": { ALIAS: "ecr-broker" } }));
}
