//! Credential helpers as docker, kubelet and Bazel run them, with a broker on a simulated AWS.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use data_encoding::BASE64;
use program::{Ended, PROGRAM, Server, simulated_broker};
use serde_json::{Value, json};

const HELPER: &str = env!("CARGO_BIN_EXE_docker-credential-ecr-broker");
const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const NOT_FOUND: &str = "credentials not found in native keychain\n";
/// An address that is never a broker's: clients do not wait for one.
const UNUSED_ADDRESS: &str = "unix:/dev/null";

/// Directory with a `client.toml` and helper programs.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// Without a broker, unless `client` names one.
    fn new(client: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("ecr-broker")).unwrap();
        let address =
            if client.contains("address") { String::new() } else { format!("address = {UNUSED_ADDRESS:?}\n") };
        fs::write(directory.path().join("ecr-broker/client.toml"), address + client).unwrap();
        Self { directory }
    }

    fn at(broker: &Server) -> Self {
        Self::new(&format!("address = {:?}\ntimeout = \"60s\"\n", broker.address))
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
        self.run_with(program, arguments, question, &[])
    }

    fn run_with(&self, program: &str, arguments: &[&str], question: &str, variables: &[(&str, &str)]) -> Ended {
        let mut command = Command::new(program);
        let path = format!("{}:/usr/bin:/bin", self.directory.path().display());
        command.args(arguments).env_clear().env("PATH", path).env("XDG_CONFIG_HOME", self.directory.path());
        command.envs(variables.iter().copied());
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        // A program may exit without reading its stdin.
        _ = child.stdin.take().unwrap().write_all(question.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Installs the docker helper in the PATH.
    fn install_helper(&self) {
        std::os::unix::fs::symlink(PROGRAM, self.path("docker-credential-ecr-broker")).unwrap();
    }

    fn docker(&self, action: &str, question: &str) -> Ended {
        self.run(HELPER, &[action], question)
    }

    /// Returns the note of a `get` that docker takes for "no entry".
    fn not_found(&self, server: &str) -> String {
        not_found(self.docker("get", server))
    }

    /// Returns the username of a registry's entry.
    fn user(&self, server: &str) -> String {
        let answer: Value = serde_json::from_str(&self.docker("get", server).out()).unwrap();
        answer["Username"].as_str().unwrap().to_owned()
    }
}

/// Checks the form of a failed `get`: docker's text on stdout, at most one line on stderr, exit code 1. Returns the note.
fn not_found(ended: Ended) -> String {
    let Ended { code, stdout, stderr } = ended;
    assert_eq!((code, stdout.as_str()), (1, NOT_FOUND), "{stderr}");
    assert!(stderr.lines().count() <= 1, "{stderr}");
    stderr
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
        let note = place.not_found(wrong);
        assert!(note.contains("ecr"), "a malformed ECR host has its own error: {note}");
    }
    let nothing = place.docker("get", "\n");
    assert_eq!((nothing.code, nothing.stdout.as_str()), (1, "no credentials server URL\n"));
}

#[test]
fn docker_get_failure_is_not_found_with_the_reason_on_stderr() {
    let place = Place::new(&format!("address = \"{UNUSED_ADDRESS}\"\n"));
    for server in [PRIVATE, "public.ecr.aws"] {
        let note = place.not_found(server);
        assert!(note.contains("no broker answers at unix:/dev/null"), "{note}");
    }
    let list = place.docker("list", "unused");
    assert_eq!((list.code, list.stdout.as_str()), (0, "{}\n"));
    let mut child = Command::new(HELPER);
    child.arg("get").env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\xff").unwrap();
    let unreadable = child.wait_with_output().unwrap();
    assert_eq!((unreadable.status.code(), unreadable.stdout.as_slice()), (Some(1), NOT_FOUND.as_bytes()));
    assert!(String::from_utf8(unreadable.stderr).unwrap().contains("cannot read stdin"));
}

/// A mistake in the settings: variables, the content of client.toml, and the note.
type Mistake = (&'static [(&'static str, &'static str)], &'static str, &'static str);

const MISTAKES: [Mistake; 8] = [
    (&[("ECR_BROKER_TIMEOUT", "30")], "", "ECR_BROKER_TIMEOUT: time unit needed"),
    (&[("ECR_BROKER_ADDRESS", "ftp://broker.example")], "", "is not a broker address"),
    (&[("ECR_BROKER_TLS_CERT", "/x")], "", "tls_cert without tls_key"),
    (&[], "tls_key = \"/x\"\n", "tls_key without tls_cert"),
    (&[], "adress = 1\n", "unknown field `adress`"),
    (&[], "timeout = \"soon\"\n", "timeout is not a duration"),
    (&[], "address = 7\n", "client.toml"),
    (&[], "address = \"ftp://x\"\n", "is not a broker address"),
];

#[test]
fn settings_mistake_lets_other_registries_pass_and_is_noted() {
    for (variables, text, expected) in MISTAKES {
        let place = Place::new(text).also("next = \"other\"\n");
        let entry = r#"{"ServerURL":"x","Username":"u","Secret":"s"}"#;
        place.helper_script("docker-credential-other", entry, 0);
        for server in ["https://index.docker.io/v1/", "ghcr.io", "localhost"] {
            let ended = place.run_with(HELPER, &["get"], server, variables);
            assert_eq!((ended.code, ended.stdout.trim()), (0, entry), "{expected}: {ended:?}");
            assert!(ended.stderr.contains(expected) && ended.stderr.lines().count() == 1, "{expected}: {ended:?}");
            let stored = place.run_with(HELPER, &["store"], &credential(server), variables);
            assert!(stored.code == 0 && stored.stderr.contains(expected), "{expected}: {stored:?}");
        }
        let ecr = not_found(place.run_with(HELPER, &["get"], PRIVATE, variables));
        assert_eq!(ecr.matches(expected).count(), 1, "{ecr}");
        place.helper_script("docker-credential-other", r#"{"ghcr.io":"u"}"#, 0);
        let list = place.run_with(HELPER, &["list"], "unused", variables);
        assert_eq!((list.code, list.stdout.as_str()), (0, "{\"ghcr.io\":\"u\"}\n"), "{expected}");
        assert!(list.stderr.contains(expected), "{list:?}");
    }
}

#[test]
fn settings_mistake_without_a_delegate_is_not_found_for_every_registry() {
    let not_toml = "address = ";
    for (variables, text, expected) in MISTAKES.into_iter().chain([(&[][..], not_toml, "client.toml: line 1")]) {
        let place = Place::new(text);
        for server in ["https://index.docker.io/v1/", "ghcr.io", PRIVATE] {
            let note = not_found(place.run_with(HELPER, &["get"], server, variables));
            assert_eq!(note.matches(expected).count(), 1, "{server}: {note}");
        }
    }
}

#[test]
fn settings_mistake_leaves_kubelet_without_credentials_for_other_images() {
    for (variables, text, expected) in MISTAKES {
        let place = Place::new(text);
        let link = place.path("ecr-credential-provider");
        std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
        for (program, arguments) in [(link.to_str().unwrap(), &[][..]), (PROGRAM, &["helper", "kubelet"])] {
            for image in ["ghcr.io/a/b", "docker.io/library/busybox", "busybox"] {
                let ended = place.run_with(program, arguments, &kubelet_request(image, ""), variables);
                let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
                assert_eq!((ended.code, &answer["auth"]), (0, &Value::Null), "{expected}: {ended:?}");
                assert!(ended.stderr.contains(expected), "{expected}: {ended:?}");
            }
            let ecr = place.run_with(program, arguments, &kubelet_request(PRIVATE, ""), variables);
            assert_eq!((ecr.code, ecr.stdout.as_str()), (1, ""));
            assert!(ecr.stderr.contains(expected) && ecr.stderr.lines().count() == 1, "{expected}: {ecr:?}");
        }
    }
}

#[test]
fn helper_flag_mistake_names_the_flag_and_lets_other_registries_pass() {
    let place = Place::new("");
    for (flags, expected) in [
        (&["--timeout", "30"][..], "--timeout: time unit needed"),
        (&["--address", "ftp://broker.example"], "--address: "),
        (&["--tls-cert", "/x"], "tls_cert without tls_key"),
    ] {
        let arguments = [&["helper", "docker", "get"][..], flags].concat();
        let other = not_found(place.run(PROGRAM, &arguments, "docker.io"));
        assert!(other.contains(expected), "{other}");
        let bazel = json!({ "uri": "https://ghcr.io/v2/" }).to_string();
        let bazel = place.run(PROGRAM, &[&["helper", "bazel", "get"][..], flags].concat(), &bazel);
        assert_eq!((bazel.code, bazel.stdout.as_str()), (0, "{}\n"), "{bazel:?}");
        assert!(bazel.stderr.contains(expected), "{bazel:?}");
    }
}

#[test]
fn version_is_printed_for_every_form_that_helpers_have() {
    let place = Place::new("adress = 1");
    let link = place.path("docker-credential-ecr-login");
    std::os::unix::fs::symlink(HELPER, &link).unwrap();
    for program in [HELPER, link.to_str().unwrap()] {
        for form in ["version", "--version", "-v"] {
            let version = place.run(program, &[form], "").out();
            assert_eq!(version, format!("docker-credential-ecr-broker (ecr-broker) {}\n", env!("CARGO_PKG_VERSION")));
        }
        assert!(place.run(program, &["--help"], "").out().starts_with("usage: "));
    }
    assert_eq!(place.docker("frobnicate", "").stdout, "Unknown credential action `frobnicate`\n");
}

#[test]
fn aws_denial_is_reported_and_skips_the_fallback() {
    let broker = simulated_broker(&["--simulate-fault", "denied=1"], &[]);
    let place = Place::at(&broker);
    let fallback = place.helper_script("fallback", "{}", 0);
    let fallback = ["helper", "docker", "get", "--fallback-exec", fallback.to_str().unwrap()];
    let denied = place.run(PROGRAM, &fallback, PRIVATE);
    let note = not_found(denied);
    assert!(note.starts_with("ecr-broker: AWS_ACCESS_DENIED: "), "{note}");
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
    place.helper_script("docker-credential-other", NOT_FOUND.trim(), 1);
    assert!(!place.not_found("localhost").contains("docker-credential-other"));
    // Another error must not end calls for other registries.
    place.helper_script("docker-credential-other", "pass store is uninitialized", 1);
    assert!(place.not_found("localhost").contains("docker-credential-other (next in client.toml) failed: pass store"));
    assert_eq!(place.docker("store", &credential("localhost")).stdout, "pass store is uninitialized\n");
    place.helper_script("docker-credential-other", "", 1);
    assert!(place.not_found("localhost").contains("failed without a message"));
    place.helper_script("docker-credential-other", "Secret: s3cret", 0);
    let note = place.not_found("localhost");
    assert!(note.contains("answered without JSON") && !note.contains("s3cret"), "{note}");
    let missing = Place::new("next = \"no-such\"\n").not_found("localhost");
    assert!(missing.contains("docker-credential-no-such"), "{missing}");
    // The same program under another name.
    let place = Place::new("next = \"another\"\n");
    std::os::unix::fs::symlink(HELPER, place.path("docker-credential-another")).unwrap();
    let circle = place.not_found("localhost");
    assert!(circle.contains("an ecr-broker helper runs it already"), "{circle}");
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
    let broken = place.not_found("localhost");
    assert!(broken.contains("auth.json") && !broken.contains("eyJsecret"), "{broken}");
    let wrong = place.docker("store", &credential("123456789012.dkr-ecr.eu-central-1.amazonaws.com"));
    assert!(wrong.code == 1 && !fs::read_to_string(&file).unwrap().contains("dkr-ecr"), "{wrong:?}");
    assert_eq!(place.docker("list", "").code, 0);
}

/// A place whose delegate is a file with this content.
fn place_with_delegate_file(content: &Value) -> (Place, PathBuf) {
    let place = Place::new("next = \"../auth.json\"\n");
    let file = place.path("auth.json");
    fs::write(&file, content.to_string()).unwrap();
    (place, file)
}

#[test]
fn delegate_path_starts_at_home_or_at_the_file_that_names_it() {
    let entry = |user: &str| json!({ "auths": { "localhost": { "username": user, "password": "p" } } }).to_string();
    let place = Place::new("");
    for (name, user) in [("auth.json", "above"), ("ecr-broker/auth.json", "beside"), ("home.json", "home")] {
        fs::write(place.path(name), entry(user)).unwrap();
    }
    let home = place.path("");
    let home = ("HOME", home.to_str().unwrap());
    let get = |next: &str, variables: &[(&str, &str)]| {
        fs::write(place.path("ecr-broker/client.toml"), format!("next = {next:?}\n")).unwrap();
        place.run_with(HELPER, &["get"], "localhost", variables)
    };
    for (next, user) in [("../auth.json", "above"), ("./auth.json", "beside"), ("~/home.json", "home")] {
        let answer: Value = serde_json::from_str(&get(next, &[home]).out()).unwrap();
        assert_eq!(answer["Username"], user, "{next}");
    }
    assert!(not_found(get("~/home.json", &[])).contains("needs HOME, which is not set"));
    assert!(not_found(get("~other/home.json", &[home])).contains("the home of another user"));
    assert_eq!(not_found(get("~/missing.json", &[home])), "", "a file without entries yet");
    // The flag's path starts at the working directory.
    let mut command = Command::new(PROGRAM);
    command.args(["helper", "docker", "get", "--next", "./auth.json"]).env_clear().current_dir(place.path(""));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"localhost").unwrap();
    let answer: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(answer["Username"], "above");
}

#[test]
fn delegate_file_entry_is_decoded_as_docker_does_or_reported() {
    let wrapped = BASE64.encode("w".repeat(60).as_bytes().iter().chain(b":p").copied().collect::<Vec<_>>().as_slice());
    let wrapped =
        wrapped.as_bytes().chunks(16).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect::<Vec<_>>();
    let (place, file) = place_with_delegate_file(&json!({ "auths": {
        "wrapped": { "auth": wrapped.join("\n") },
        "spare": { "auth": "dXNlcjpzM2NyZXR=" },
        "both": { "username": "x", "password": "y", "auth": BASE64.encode(b"first:p") },
        "plain": { "username": "x", "password": "y" },
        "https://url/some/path": { "auth": BASE64.encode(b"old:p") },
        "unpadded": { "auth": "dXNlcjpzM2NyZXQ" },
        "nocolon": { "auth": BASE64.encode(b"s3cret") },
        "nouser": { "auth": BASE64.encode(b":s3cret") },
        "garbage": { "auth": "s3cret!" },
        "emptied": {},
    } }));
    let (long, users) = ("w".repeat(60), [("spare", "user"), ("both", "first"), ("plain", "x"), ("url", "old")]);
    for (server, user) in users.into_iter().chain([("wrapped", long.as_str())]) {
        assert_eq!(place.user(server), user, "{server}");
    }
    let broken = ["unpadded", "nocolon", "nouser", "garbage"];
    for server in broken {
        let note = place.not_found(server);
        let expected = format!("auth of {server:?} is not base64 of USERNAME:PASSWORD");
        assert!(note.contains(&expected) && note.contains("auth.json") && !note.contains("s3cret"), "{note}");
    }
    assert_eq!(place.not_found("emptied"), "");
    let list = place.docker("list", "unused");
    assert_eq!(list.stdout.matches("\":\"").count(), 5, "{list:?}");
    assert!(broken.iter().all(|server| list.stderr.contains(server)), "{list:?}");
    fs::write(&file, "null").unwrap();
    assert_eq!(place.not_found("plain"), "");
    fs::write(&file, r#"{"auths":null,"credHelpers":null}"#).unwrap();
    assert_eq!(place.not_found("plain"), "");
    assert_eq!(place.docker("list", "unused").stdout, "{}\n");
    assert_eq!(place.docker("store", &credential("plain")).code, 0);
    assert_eq!(place.user("plain"), "user");
}

#[test]
fn cred_helpers_of_the_delegate_file_are_run_as_podman_does() {
    let (place, file) = place_with_delegate_file(&json!({
        "credHelpers": { "localhost": "other", "own": "ecr-broker" },
        "auths": { "own": { "username": "file", "password": "p" } },
    }));
    place.helper_script("docker-credential-other", r#"{"ServerURL":"x","Username":"helper","Secret":"s"}"#, 0);
    assert_eq!((place.user("localhost").as_str(), place.user("own").as_str()), ("helper", "file"));
    let before = fs::read_to_string(&file).unwrap();
    assert_eq!(place.docker("store", &credential("localhost")).code, 0);
    assert_eq!(place.docker("erase", "localhost").code, 0);
    assert!(place.requests().contains("store\n{") && place.requests().contains("erase\nlocalhost"));
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    let list: Value = serde_json::from_str(&place.docker("list", "unused").stdout).unwrap();
    assert_eq!(list, json!({ "localhost": "", "own": "file" }));
}

/// Creates a program that hangs with a child, and returns a pipe that both hold open.
fn hanging_script(place: &Place, name: &str) -> PathBuf {
    let pipe = place.path(&format!("{name}.pipe"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let text =
        format!("#!/bin/sh\nexec 3>{}\necho started >&3\n(sleep 120; echo survived >&3) &\nwait\n", pipe.display());
    fs::write(place.path(name), text).unwrap();
    fs::set_permissions(place.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    pipe
}

#[test]
fn hanging_delegate_or_fallback_is_killed_with_its_children() {
    let place = Place::new(&format!("address = \"{UNUSED_ADDRESS}\"\nnext = \"hang\"\ntimeout = \"3s\"\n"));
    let pipe = hanging_script(&place, "docker-credential-hang");
    let program = place.path("docker-credential-hang");
    let fallback = ["helper", "docker", "get", "--fallback-exec", program.to_str().unwrap()];
    for (arguments, server) in [(&["get"][..], "localhost"), (&fallback, PRIVATE), (&["list"], "unused")] {
        // Held open until the helper ends, so that reading the pipe never waits for a first writer.
        let holder = fs::File::options().read(true).write(true).open(&pipe).unwrap();
        let mut reader = fs::File::open(&pipe).unwrap();
        // Without a terminal, as in CI: with one, the other helper stays in the group of the terminal's programs.
        let program = if arguments.len() == 1 { HELPER } else { PROGRAM };
        let ended = place.run("setsid", &[&["--wait", program][..], arguments].concat(), server);
        drop(holder);
        assert!(ended.stderr.contains("no answer within 3s"), "{ended:?}");
        assert_eq!(ended.stdout, if server == "unused" { "{}\n" } else { NOT_FOUND });
        let mut written = String::new();
        reader.read_to_string(&mut written).unwrap();
        assert_eq!(written, "started\n", "every process that holds the pipe is dead");
    }
}

#[test]
fn delegate_may_ask_at_the_terminal() {
    let place = Place::new("next = \"ask\"\n");
    let ask = place.helper_script("docker-credential-ask", "", 0);
    let text = "#!/bin/sh\nread line </dev/tty\nprintf '{\"Username\":\"u\",\"Secret\":\"%s\"}' \"$line\"\n";
    fs::write(&ask, text).unwrap();
    let in_terminal = format!("printf localhost | {HELPER} get");
    // script(1) runs the program in a new terminal, and types what is on its stdin.
    let ended = place.run("script", &["-qec", &in_terminal, "/dev/null"], "typed\n");
    assert!(ended.code == 0 && ended.stdout.contains(r#"{"Username":"u","Secret":"typed"}"#), "{ended:?}");
}

#[test]
fn failed_delegate_or_fallback_never_prints_a_secret() {
    for text in [r#"{"ServerURL":"x","Username":"u","Secret":"s3cr3t"}"#, "Secret: s3cr3t", r#"["s3cr3t"]"#] {
        let place = Place::new(&format!("address = \"{UNUSED_ADDRESS}\"\nnext = \"other\"\ntimeout = \"1s\"\n"));
        let other = place.helper_script("docker-credential-other", text, 1);
        let arguments = ["helper", "docker", "get", "--fallback-exec", other.to_str().unwrap()];
        for ended in [
            place.docker("get", "localhost"),
            place.docker("list", "unused"),
            place.docker("erase", "localhost"),
            place.run(PROGRAM, &arguments, PRIVATE),
        ] {
            assert!(!format!("{ended:?}").contains("s3cr3t"), "{ended:?}");
            assert!(ended.stderr.contains("fail") || ended.stdout.contains("fail"), "{ended:?}");
        }
    }
}

#[test]
fn answer_of_a_delegate_that_leaves_a_process_behind_is_used() {
    let place = Place::new("next = \"leave\"\ntimeout = \"60s\"\n");
    let pipe = hanging_script(&place, "docker-credential-leave");
    // The process that stays ends when the test closes the pipe.
    let text = format!(
        "#!/bin/sh\n(read line <{}) 2>/dev/null &\necho '{{\"Username\":\"u\",\"Secret\":\"s\"}}'\n",
        pipe.display()
    );
    fs::write(place.path("docker-credential-leave"), text).unwrap();
    let holder = fs::File::options().read(true).write(true).open(&pipe).unwrap();
    assert_eq!(place.user("localhost"), "u");
    drop(holder);
}

#[test]
fn delegate_of_an_unreadable_file_is_not_replaced_by_another() {
    let place = Place::new("timeout = 9s\nnext = \"other\"\n");
    place.helper_script("docker-credential-other", "{}", 0);
    let get = place.not_found("localhost");
    assert!(get.contains("client.toml: line ") && get.contains("may set next"), "{get}");
    for (action, request) in [("store", credential("localhost")), ("erase", "localhost".to_owned())] {
        let ended = place.docker(action, &request);
        assert!(ended.code == 1 && ended.stdout.contains("may set next"), "{ended:?}");
    }
    assert_eq!(place.requests(), "");
}

#[test]
fn delegate_without_a_name_is_refused_by_its_origin() {
    for name in ["", " ", "~"] {
        let place = Place::new(&format!("next = {name:?}\n"));
        let note = place.not_found("localhost");
        assert!(note.contains("next in ") && note.contains("is not a helper's name"), "{note}");
        let flag = not_found(place.run(PROGRAM, &["helper", "docker", "get", "--next", name], "localhost"));
        assert!(flag.contains("--next: ") && flag.contains("is not a helper's name"), "{flag}");
    }
}

#[test]
fn delegate_keeps_a_valid_timeout_beside_a_mistake() {
    let place = Place::new("adress = 1\nnext = \"hang\"\ntimeout = \"1s\"\n");
    hanging_script(&place, "docker-credential-hang");
    let note = place.not_found("localhost");
    assert!(note.contains("no answer within 1s"), "{note}");
}

#[test]
fn fallback_runs_when_local_settings_prevent_asking_the_broker() {
    let unreadable = [
        "address = \"https://127.0.0.1:1\"\ntls_ca = \"/no/such\"\n",
        "address = \"http://127.0.0.1:1\"\ntoken_file = \"/no/such\"\n",
    ];
    let cases = unreadable.map(|text| (&[][..], text, "")).into_iter().chain(MISTAKES);
    for (variables, text, expected) in cases {
        let place = Place::new(text);
        let fallback = place.helper_script("fallback", "{\"its\":\"own\"}", 0);
        let arguments = ["helper", "kubelet", "--fallback-exec", fallback.to_str().unwrap()];
        let ended = place.run_with(PROGRAM, &arguments, &kubelet_request(PRIVATE, ""), variables);
        assert_eq!((ended.code, ended.stdout.as_str()), (0, "{\"its\":\"own\"}\n"), "{text} {variables:?}: {ended:?}");
        assert!(!ended.stderr.is_empty() && ended.stderr.contains(expected), "{ended:?}");
    }
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

fn kubelet_request(image: &str, more: &str) -> String {
    format!(
        r#"{{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderRequest","image":"{image}"{more}}}"#
    )
}

fn kubelet(place: &Place, arguments: &[&str], image: &str, more: &str) -> Ended {
    place.run(PROGRAM, &[&["helper", "kubelet"], arguments].concat(), &kubelet_request(image, more))
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
    place.install_helper();
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
    for (wrong, code) in [
        (&["configure", "docker", "ghcr.io"][..], 1),
        (&["configure", "docker", "docker.io"], 3),
        (&["configure", "bazel", "123.dkr.ecr.eu-central-1.amazonaws.com"], 3),
        (&["configure", "docker"], 2),
    ] {
        assert_eq!(place.run(PROGRAM, wrong, "").code, code, "{wrong:?}");
    }
}

#[test]
fn configure_warns_of_a_helper_that_is_not_in_the_path() {
    let place = Place::new("");
    let file = place.path("config.json");
    let configure = || place.run(PROGRAM, &["configure", "docker", PRIVATE, "--file", file.to_str().unwrap()], "");
    let warned = configure();
    assert_eq!(warned.code, 0, "{warned:?}");
    assert!(warned.error().contains("warning: docker-credential-ecr-broker is not in the PATH"), "{warned:?}");
    fs::remove_file(&file).unwrap();
    place.install_helper();
    configure().out();
}

#[test]
fn helper_explains_itself_under_each_of_its_names() {
    let place = Place::new("");
    for (name, flags) in [
        ("docker-credential-ecr-broker", "ecr-broker helper docker --help"),
        ("ecr-credential-provider", "ecr-broker helper kubelet --help"),
        ("bazel-credential-ecr-broker", "ecr-broker helper bazel --help"),
    ] {
        let link = place.path(name);
        std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
        let ask = |flag: &str| place.run(link.to_str().unwrap(), &[flag], "").out();
        let help = ask("--help");
        assert!(help.starts_with(&format!("usage: {name} ")) && help.contains(flags), "{help}");
        assert_eq!(ask("-h"), help);
        assert_eq!(ask("--version"), format!("{name} (ecr-broker) {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn configure_keeps_key_order_indentation_and_null_is_empty() {
    let place = Place::new("");
    place.install_helper();
    let file = place.path("config.json");
    let configure = || place.run(PROGRAM, &["configure", "docker", PRIVATE, "--file", file.to_str().unwrap()], "");
    let added = format!("\"{PRIVATE}\": \"ecr-broker\"");
    for (before, after) in [
        (
            "{\n\t\"psFormat\": \"x\",\n\t\"credHelpers\": {\n\t\t\"z\": \"y\"\n\t},\n\t\"auths\": {}\n}".to_owned(),
            format!(
                "{{\n\t\"psFormat\": \"x\",\n\t\"credHelpers\": {{\n\t\t\"z\": \"y\",\n\t\t{added}\n\t}},\n\t\"auths\": {{}}\n}}"
            ),
        ),
        (
            "{\n    \"z\": 1,\n    \"credHelpers\": null,\n    \"auths\": null\n}\n".to_owned(),
            format!("{{\n    \"z\": 1,\n    \"credHelpers\": {{\n        {added}\n    }},\n    \"auths\": null\n}}\n"),
        ),
        (String::new(), format!("{{\n\t\"credHelpers\": {{\n\t\t{added}\n\t}}\n}}")),
        ("null".to_owned(), format!("{{\n\t\"credHelpers\": {{\n\t\t{added}\n\t}}\n}}")),
    ] {
        fs::write(&file, &before).unwrap();
        configure().out();
        assert_eq!(fs::read_to_string(&file).unwrap(), after, "{before}");
    }
    fs::write(&file, r#"{"credHelpers":[]}"#).unwrap();
    assert!(configure().error().contains("credHelpers is not an object"));
}

#[test]
fn configure_writes_through_a_dangling_link() {
    let place = Place::new("");
    let (link, target) = (place.path("home/.docker/config.json"), place.path("home/dotfiles/config.json"));
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("../dotfiles/config.json", &link).unwrap();
    let home = place.path("home");
    let variables = [("HOME", home.to_str().unwrap())];
    let configure = || place.run_with(PROGRAM, &["configure", "docker", PRIVATE], "", &variables);
    let refused = configure();
    assert!(refused.code == 1 && refused.error().contains("whose directory does not exist"), "{refused:?}");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    fs::create_dir(target.parent().unwrap()).unwrap();
    place.install_helper();
    configure().out();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let config: Value = serde_json::from_str(&fs::read_to_string(&target).unwrap()).unwrap();
    assert_eq!(config["credHelpers"][PRIVATE], "ecr-broker");
    fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
    place.run_with(PROGRAM, &["configure", "docker", "public.ecr.aws"], "", &variables).out();
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o640);
    let mut beside: Vec<_> =
        fs::read_dir(target.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    beside.sort_unstable();
    assert_eq!(beside, ["config.json", "config.json.lock"], "the lock is beside the target");
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
