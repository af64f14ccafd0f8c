//! Credential helpers as docker, kubelet and Bazel run them, with a broker on a simulated AWS.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use data_encoding::BASE64;
use program::{Ended, PROGRAM, Server, simulated_broker};
use serde_json::{Value, json};

const HELPER: &str = env!("CARGO_BIN_EXE_docker-credential-ecr-broker");
const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const NOT_FOUND: &str = "credentials not found in native keychain\n";
const UNUSED_ADDRESS: &str = "http://127.0.0.1:1";

/// Directory with a `client.toml` and helper programs.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new(client: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("ecr-broker")).unwrap();
        fs::write(directory.path().join("ecr-broker/client.toml"), client).unwrap();
        Self { directory }
    }

    fn at(broker: &Server) -> Self {
        Self::new(&format!("address = {:?}\ntimeout = \"5s\"\n", broker.address))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn also(self, client: &str) -> Self {
        let file = self.path("ecr-broker/client.toml");
        fs::write(&file, fs::read_to_string(&file).unwrap() + client).unwrap();
        self
    }

    /// Creates a program that records its arguments and stdin, and prints an answer.
    fn helper_script(&self, name: &str, answer: &str, code: i32) -> PathBuf {
        let path = self.path(name);
        let requests = self.path("requests");
        let text = format!(
            "#!/bin/sh\necho \"$@\" >>{requests}\ncat >>{requests}\nprintf '%s\\n' '{answer}'\nexit {code}\n",
            requests = requests.display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn requests(&self) -> String {
        fs::read_to_string(self.path("requests")).unwrap_or_default()
    }

    fn run(&self, program: &str, arguments: &[&str], question: &str) -> Ended {
        let mut command = Command::new(program);
        let path = format!("{}:/usr/bin:/bin", self.directory.path().display());
        command.args(arguments).env_clear().env("PATH", path).env("XDG_CONFIG_HOME", self.directory.path());
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        // A program may exit without reading its stdin.
        _ = child.stdin.take().unwrap().write_all(question.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    fn docker(&self, action: &str, question: &str) -> Ended {
        self.run(HELPER, &[action], question)
    }
}

fn credential(server: &str) -> String {
    json!({ "ServerURL": server, "Username": "user", "Secret": "s3cret" }).to_string()
}

fn fields(answer: &Value) -> Vec<&str> {
    let mut fields: Vec<_> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    fields
}

fn is_token(secret: &str) -> bool {
    // Tokens of the simulated AWS are as long as real ones.
    secret.len() > 1_000
}

#[test]
fn docker_get_accepts_every_form_of_a_registry_name() {
    let broker = simulated_broker(&[], &[]);
    let place = Place::at(&broker);
    for server in [
        PRIVATE,
        &format!("{PRIVATE}\n"),
        &format!("https://{PRIVATE}"),
        &format!("https://{PRIVATE}/v2/"),
        &format!("{PRIVATE}:443"),
        &format!("{PRIVATE}/team/app:v1"),
        &PRIVATE.to_uppercase(),
        "public.ecr.aws",
        "123456789012.dkr-ecr-fips.us-east-1.on.aws",
    ] {
        let answer: Value = serde_json::from_str(&place.docker("get", server).out()).unwrap();
        assert_eq!(fields(&answer), ["Secret", "ServerURL", "Username"], "field names are case-sensitive");
        assert_eq!((answer["ServerURL"].as_str(), answer["Username"].as_str()), (Some(server.trim()), Some("AWS")));
        assert!(is_token(answer["Secret"].as_str().unwrap()), "{server}");
    }
    let list: Value = serde_json::from_str(&place.docker("list", "unused").out()).unwrap();
    assert_eq!(list[format!("https://{PRIVATE}")], "AWS");
    assert!(place.docker("version", "").out().starts_with("docker-credential-ecr-broker (ecr-broker) "));
    broker.stop();
}

#[test]
fn docker_get_reports_other_registries_as_not_found_without_a_broker() {
    let place = Place::new(&format!("address = \"{UNUSED_ADDRESS}\"\n"));
    for server in ["https://index.docker.io/v1/", "ghcr.io", "registry.example:5000", "localhost"] {
        let Ended { code, stdout, stderr } = place.docker("get", server);
        assert_eq!((code, stdout.as_str()), (1, NOT_FOUND), "{server}");
        // Docker Hub and names without a dot are never aliases.
        let may_be_alias = server.contains("ghcr") || server.contains("example");
        assert_eq!(stderr.contains("is an alias of the broker") && stderr.contains("no broker answers"), may_be_alias);
    }
    for wrong in ["12345.dkr.ecr.eu-central-1.amazonaws.com", "123456789012.dkr-ecr.eu-central-1.amazonaws.com"] {
        let malformed = place.docker("get", wrong);
        assert!(
            malformed.code == 1 && malformed.stdout != NOT_FOUND,
            "a malformed ECR host has its own error: {malformed:?}"
        );
    }
    let nothing = place.docker("get", "\n");
    assert_eq!((nothing.code, nothing.stdout.as_str()), (1, "no credentials server URL\n"));
}

#[test]
fn docker_get_without_a_broker_fails_except_for_the_public_registry() {
    let place = Place::new(&format!("address = \"{UNUSED_ADDRESS}\"\n"));
    let private = place.docker("get", PRIVATE);
    assert_eq!((private.code, private.stdout.lines().count()), (1, 1));
    assert!(private.stdout.contains("no broker answers at http://127.0.0.1:1"), "{private:?}");
    let public = place.docker("get", "public.ecr.aws");
    assert_eq!((public.code, public.stdout.as_str()), (1, NOT_FOUND));
    assert!(public.stderr.contains("no broker answers"), "{public:?}");
    let list = place.docker("list", "unused");
    assert_eq!((list.code, list.stdout.as_str()), (0, "{}\n"));
    let wrong = Place::new("adress = 1").docker("get", PRIVATE);
    assert!(wrong.code == 1 && wrong.stdout.contains("client.toml") && wrong.stdout.lines().count() == 1, "{wrong:?}");
    assert_eq!(Place::new("adress = 1").docker("list", "").code, 0);
}

#[test]
fn aws_denial_is_reported_and_skips_the_fallback() {
    let broker = simulated_broker(&["--simulate-fault", "denied=1"], &[]);
    let place = Place::at(&broker);
    let fallback = place.helper_script("fallback", "{}", 0);
    let fallback = ["helper", "docker", "get", "--fallback-exec", fallback.to_str().unwrap()];
    let denied = place.run(PROGRAM, &fallback, PRIVATE);
    assert_eq!(denied.code, 1);
    assert!(denied.stdout.starts_with("AWS_ACCESS_DENIED: "), "{denied:?}");
    assert_eq!(place.requests(), "");
    broker.stop();
}

#[test]
fn docker_store_drops_ecr_and_refuses_others_without_a_delegate() {
    let place = Place::new("");
    let stored = place.docker("store", &credential(PRIVATE));
    assert_eq!((stored.code, stored.stdout.as_str()), (0, ""));
    assert!(stored.stderr.contains("not stored"), "{stored:?}");
    assert_eq!(place.docker("erase", PRIVATE).code, 0);
    let refused = place.docker("store", &credential("ghcr.io"));
    assert!(refused.code == 1 && refused.stdout.contains("next in client.toml"), "{refused:?}");
    assert!(!refused.stdout.contains("s3cret") && !refused.stderr.contains("s3cret"));
    assert_eq!(place.docker("store", "nonsense").code, 1);
    assert_eq!(place.docker("frobnicate", "").stdout, "Unknown credential action `frobnicate`\n");
}

#[test]
fn other_registries_go_to_the_delegate_helper() {
    let place = Place::new("next = \"other\"\n");
    place.helper_script("docker-credential-other", r#"{"ServerURL":"ghcr.io","Username":"u","Secret":"s"}"#, 0);
    assert_eq!(
        place.docker("get", "ghcr.io").out(),
        "{\"ServerURL\":\"ghcr.io\",\"Username\":\"u\",\"Secret\":\"s\"}\n"
    );
    assert_eq!(place.docker("store", &credential("ghcr.io")).code, 0);
    assert_eq!(place.docker("erase", "ghcr.io").code, 0);
    let requests = place.requests();
    assert!(
        requests.contains("get\nghcr.io") && requests.contains("s3cret") && requests.contains("erase\nghcr.io"),
        "{requests}"
    );
    place.helper_script("docker-credential-other", r#"{"https://ghcr.io":"u"}"#, 0);
    assert_eq!(place.docker("list", "unused").out_anyway(), "{\"https://ghcr.io\":\"u\"}\n");
    // The delegate's error passes unchanged, because docker compares it.
    place.helper_script("docker-credential-other", NOT_FOUND.trim(), 1);
    let Ended { code, stdout, .. } = place.docker("get", "ghcr.io");
    assert_eq!((code, stdout.as_str()), (1, NOT_FOUND));
    let missing = Place::new("next = \"no-such\"\n").docker("get", "ghcr.io");
    assert!(missing.code == 1 && missing.stdout.contains("docker-credential-no-such"), "{missing:?}");
    // The same program under another name.
    let place = Place::new("next = \"another\"\n");
    std::os::unix::fs::symlink(HELPER, place.path("docker-credential-another")).unwrap();
    let circle = place.docker("get", "ghcr.io");
    assert!(circle.code == 1 && circle.stdout.contains("an ecr-broker helper runs it already"), "{circle:?}");
}

#[test]
fn other_registries_are_read_and_written_in_an_auth_file() {
    let place = Place::new("");
    let file = place.path("auth.json");
    let place = place.also(&format!("next = {file:?}\n"));
    assert_eq!(place.docker("get", "ghcr.io").stdout, NOT_FOUND);
    assert_eq!(place.docker("store", &credential("ghcr.io")).code, 0);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let answer: Value = serde_json::from_str(&place.docker("get", "https://ghcr.io/v2/").out()).unwrap();
    assert_eq!((answer["Username"].as_str(), answer["Secret"].as_str()), (Some("user"), Some("s3cret")));
    let list: Value = serde_json::from_str(&place.docker("list", "").stdout).unwrap();
    assert_eq!(list, json!({ "ghcr.io": "user" }));

    let other = BASE64.encode(b"a:b:c");
    let written = json!({ "credsStore": "x", "auths": { "https://index.docker.io/v1/": { "auth": other }, "ghcr.io": { "identitytoken": "t" } } });
    fs::write(&file, written.to_string()).unwrap();
    let answer: Value = serde_json::from_str(&place.docker("get", "https://index.docker.io/v1/").out()).unwrap();
    assert_eq!((answer["Username"].as_str(), answer["Secret"].as_str()), (Some("a"), Some("b:c")));
    let answer: Value = serde_json::from_str(&place.docker("get", "ghcr.io").out()).unwrap();
    assert_eq!((answer["Username"].as_str(), answer["Secret"].as_str()), (Some("<token>"), Some("t")));
    assert_eq!(place.docker("erase", "ghcr.io").code, 0);
    let left: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(left, json!({ "credsStore": "x", "auths": { "https://index.docker.io/v1/": { "auth": other } } }));

    // An entry for a repository is not the registry's, and Docker Hub has several names.
    let scoped = json!({ "auths": {
        "quay.io/a": { "auth": other }, "quay.io/b": { "auth": other }, "docker.io": { "auth": other }, "ghcr.io": {}, "https://ghcr.io": { "auth": other },
    } });
    fs::write(&file, scoped.to_string()).unwrap();
    assert_eq!(place.docker("get", "quay.io").stdout, NOT_FOUND);
    assert_eq!(place.docker("erase", "quay.io").code, 0);
    assert_eq!(serde_json::from_str::<Value>(&fs::read_to_string(&file).unwrap()).unwrap(), scoped);
    assert_eq!(place.docker("get", "https://index.docker.io/v1/").code, 0);
    assert_eq!(place.docker("get", "ghcr.io").code, 0);

    // A change follows a symbolic link and keeps the file's mode.
    let link = place.path("link.json");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let linked = Place::new(&format!("next = {link:?}\n"));
    assert_eq!(linked.docker("store", &credential("linked.example")).code, 0);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(place.docker("get", "linked.example").code, 0);
    fs::write(&file, written.to_string()).unwrap();
    assert_eq!(place.docker("erase", "ghcr.io").code, 0);

    // docker overwrites its own file after a store, without the new entry.
    let docker = Place::new("");
    let own = docker.path("config.json");
    let docker = docker.also(&format!("next = {own:?}\n"));
    let mut command = Command::new(HELPER);
    command.arg("store").env_clear().env("XDG_CONFIG_HOME", docker.directory.path());
    command.env("DOCKER_CONFIG", docker.directory.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(credential("ghcr.io").as_bytes()).unwrap();
    let refused = child.wait_with_output().unwrap();
    assert!(!refused.status.success() && String::from_utf8(refused.stdout).unwrap().contains("docker's own file"));

    // Concurrent changes lose nothing.
    std::thread::scope(|scope| {
        for number in 0..20 {
            let place = &place;
            scope.spawn(move || assert_eq!(place.docker("store", &credential(&format!("r{number}.example"))).code, 0));
        }
    });
    let list: Value = serde_json::from_str(&place.docker("list", "").stdout).unwrap();
    assert_eq!(list.as_object().unwrap().len(), 21);
    let names: Vec<_> = fs::read_dir(place.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 4, "the directory of client.toml, the file, its lock and the link: {names:?}");
    fs::write(&file, "\"eyJsecret\"").unwrap();
    let broken = place.docker("get", "ghcr.io").stdout;
    assert!(broken.contains("auth.json") && !broken.contains("eyJsecret"), "{broken}");
    let wrong = place.docker("store", &credential("123456789012.dkr-ecr.eu-central-1.amazonaws.com"));
    assert!(wrong.code == 1 && !fs::read_to_string(&file).unwrap().contains("dkr-ecr"), "{wrong:?}");
    assert_eq!(place.docker("list", "").code, 0);
}

#[test]
fn two_hundred_helpers_with_a_cold_key_make_one_aws_call() {
    let broker = simulated_broker(&["--simulate-latency", "500ms"], &[("RUST_LOG", "info")]);
    let place = Place::at(&broker);
    std::thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| assert!(is_token(&place.docker("get", PRIVATE).out())));
        }
    });
    let logs = broker.stop();
    assert_eq!(logs.matches("credential fetched").count(), 1);
}

fn kubelet(place: &Place, arguments: &[&str], image: &str, more: &str) -> Ended {
    let request = format!(
        r#"{{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderRequest","image":"{image}"{more}}}"#
    );
    place.run(PROGRAM, &[&["helper", "kubelet"], arguments].concat(), &request)
}

#[test]
fn kubelet_response_has_only_known_fields() {
    let broker = simulated_broker(&[], &[]);
    let place = Place::at(&broker);
    let image = format!("{PRIVATE}/team/app");
    let answer: Value = serde_json::from_str(&kubelet(&place, &[], &image, "").out()).unwrap();
    assert_eq!(fields(&answer), ["apiVersion", "auth", "cacheDuration", "cacheKeyType", "kind"]);
    assert_eq!(answer["kind"], "CredentialProviderResponse");
    assert_eq!(answer["cacheKeyType"], "Registry");
    let seconds: u64 = answer["cacheDuration"].as_str().unwrap().trim_end_matches('s').parse().unwrap();
    assert!((60..=66 * 60).contains(&seconds), "{seconds}");
    assert_eq!(answer["auth"][PRIVATE]["username"], "AWS");
    assert!(is_token(answer["auth"][PRIVATE]["password"].as_str().unwrap()));

    let other: Value = serde_json::from_str(&kubelet(&place, &[], "ghcr.io/a/b", "").stdout).unwrap();
    assert_eq!((&other["auth"], &other["cacheDuration"]), (&Value::Null, &json!("0s")));
    for wrong in [
        "",
        "{}",
        "\"eyJsecret\"",
        r#"{"apiVersion":"credentialprovider.kubelet.k8s.io/v1alpha1","kind":"CredentialProviderRequest","image":"x"}"#,
    ] {
        let refused = place.run(PROGRAM, &["helper", "kubelet"], wrong);
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{wrong}");
        assert!(!refused.stderr.is_empty() && !refused.stderr.contains("eyJsecret"), "{refused:?}");
    }
    broker.stop();
}

#[test]
fn kubelet_token_of_the_pod_is_sent_to_the_broker() {
    let broker = simulated_broker(&[], &[]);
    let place = Place::at(&broker);
    // This broker accepts no tokens: its error proves that the token was sent.
    let refused = kubelet(&place, &[], PRIVATE, r#","serviceAccountToken":"t0ken","serviceAccountAnnotations":{}"#);
    assert_eq!((refused.code, refused.stdout.as_str()), (1, ""));
    assert!(refused.stderr.contains("accepts no bearer tokens") && !refused.stderr.contains("t0ken"), "{refused:?}");
    broker.stop();
}

#[test]
fn fallback_gets_the_same_request_when_no_broker_answers() {
    let place = Place::new(&format!("address = \"{UNUSED_ADDRESS}\"\n"));
    let fallback = place.helper_script("fallback", "{\"its\":\"own\"}", 0);
    let fallback = fallback.to_str().unwrap();
    let answer = kubelet(&place, &["--fallback-exec", fallback], PRIVATE, "");
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "{\"its\":\"own\"}\n"));
    assert!(answer.stderr.contains("no broker answers") && place.requests().contains("CredentialProviderRequest"));
    let with_an_argument = format!("{fallback} get-credentials");
    assert_eq!(kubelet(&place, &["--fallback-exec", &with_an_argument], PRIVATE, "").code, 0);
    assert!(place.requests().contains("get-credentials\n"), "{}", place.requests());
    let question = json!({ "uri": format!("https://{PRIVATE}/v2/") }).to_string();
    let answer = place.run(PROGRAM, &["helper", "bazel", "get", "--fallback-exec", fallback], &question);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "{\"its\":\"own\"}\n"));
    let answer = place.run(PROGRAM, &["helper", "docker", "get", "--fallback-exec", fallback], PRIVATE);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "{\"its\":\"own\"}\n"));
    let missing = kubelet(&place, &["--fallback-exec", "/no/such"], PRIVATE, "");
    assert!(missing.code == 1 && missing.stderr.contains("/no/such"), "{missing:?}");
}

fn bazel(place: &Place, uri: &str) -> Ended {
    place.run(PROGRAM, &["helper", "bazel", "get"], &json!({ "uri": uri, "more": 1 }).to_string())
}

#[test]
fn bazel_get_returns_a_header_per_registry_and_none_for_layers() {
    let broker = simulated_broker(&[], &[]);
    let place = Place::at(&broker);
    for (host, scheme) in [(PRIVATE, "Basic"), ("public.ecr.aws", "Bearer")] {
        let answer: Value =
            serde_json::from_str(&bazel(&place, &format!("https://{host}/v2/team/app/blobs/sha256:00")).out()).unwrap();
        let header = answer["headers"]["Authorization"][0].as_str().unwrap();
        let (found, token) = header.split_once(' ').unwrap();
        assert_eq!(found, scheme);
        assert!(BASE64.decode(token.as_bytes()).unwrap().starts_with(b"AWS:"));
        assert!(humantime::parse_rfc3339(answer["expires"].as_str().unwrap()).is_ok());
    }
    assert_eq!(bazel(&place, &format!("http://{PRIVATE}/v2/")).out(), "{}\n", "no header in plaintext");
    let layers = bazel(&place, "https://prod-eu-central-1-starport-layer-bucket.s3.eu-central-1.amazonaws.com/x?y");
    assert_eq!(layers.out(), "{}\n");
    assert_eq!(place.run(PROGRAM, &["helper", "bazel", "set"], "{}").code, 1);
    assert_eq!(place.run(PROGRAM, &["helper", "bazel", "get"], "x").code, 1);
    broker.stop();
}

#[test]
fn configure_docker_and_podman_adds_the_helper_and_keeps_the_rest() {
    let place = Place::new("");
    let file = place.path("config.json");
    fs::write(&file, json!({ "credsStore": "x", "credHelpers": { "public.ecr.aws": "ecr-login" } }).to_string())
        .unwrap();
    let before = fs::read_to_string(&file).unwrap();
    let image = format!("https://{PRIVATE}/team/app:v1");
    let configure = |more: &[&str]| {
        let own = ["configure", "docker", image.as_str(), "public.ecr.aws", "--file", file.to_str().unwrap()];
        place.run(PROGRAM, &[&own[..], more].concat(), "").out()
    };
    let shown = configure(&["--dry-run"]);
    assert!(shown.contains("would change") && shown.contains(&format!("+ credHelpers[\"{PRIVATE}\"]")), "{shown}");
    assert!(shown.contains("- credHelpers[\"public.ecr.aws\"] = \"ecr-login\""), "{shown}");
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    configure(&[]);
    let config: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(
        config,
        json!({ "credsStore": "x", "credHelpers": { PRIVATE: "ecr-broker", "public.ecr.aws": "ecr-broker" } })
    );
    assert!(configure(&[]).contains("already"));

    let podman = place.run(PROGRAM, &["configure", "podman", PRIVATE], "").out();
    assert!(podman.contains("containers/auth.json"), "{podman}");
    let config: Value = serde_json::from_str(&fs::read_to_string(place.path("containers/auth.json")).unwrap()).unwrap();
    assert_eq!(config["credHelpers"][PRIVATE], "ecr-broker");
    for wrong in [&["configure", "docker", "ghcr.io"][..], &["configure", "docker"]] {
        assert_ne!(place.run(PROGRAM, wrong, "").code, 0, "{wrong:?}");
    }
}

#[test]
fn configure_kubelet_and_bazel_prints_their_configuration() {
    let place = Place::new("");
    let kubelet = place.run(PROGRAM, &["configure", "kubelet", PRIVATE], "").out();
    assert!(
        kubelet.contains(&format!("      - \"{PRIVATE}\"\n")) && kubelet.contains("args: [helper, kubelet]"),
        "{kubelet}"
    );
    assert!(place.run(PROGRAM, &["configure", "kubelet"], "").out().contains("*.dkr.ecr.*.amazonaws.com"));
    let bazel = place.run(PROGRAM, &["configure", "bazel", PRIVATE, "public.ecr.aws"], "").out();
    assert!(
        bazel.contains(&format!("--credential_helper={PRIVATE}=")) && bazel.contains("=public.ecr.aws="),
        "{bazel}"
    );
}

#[test]
fn program_acts_as_the_helper_that_its_name_says() {
    let broker = simulated_broker(&[], &[]);
    let place = Place::at(&broker);
    let under = |name: &str, arguments: &[&str], question: &str| {
        let link = place.path(name);
        std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
        let answer: Value =
            serde_json::from_str(&place.run(link.to_str().unwrap(), arguments, question).out()).unwrap();
        answer
    };
    let request = json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest", "image": PRIVATE,
    });
    let answer = under("ecr-credential-provider", &["get-credentials"], &request.to_string());
    assert_eq!(answer["auth"][PRIVATE]["username"], "AWS");
    let uri = json!({ "uri": format!("https://{PRIVATE}/v2/") });
    let answer = under("bazel-credential-ecr-broker", &["get"], &uri.to_string());
    assert!(answer["headers"]["Authorization"][0].as_str().unwrap().starts_with("Basic "));
    assert_eq!(under("docker-credential-ecr-login", &["get"], PRIVATE)["Username"], "AWS");
    broker.stop();
}
