//! docker's command line with the helper, against an engine that records the credentials it is sent.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use data_encoding::BASE64URL;
use serde_json::{Value, json};

use super::PRIVATE;
use super::other::{run, text};
use super::program::{PROGRAM, simulated_broker};

mod switch_over;

const HELPER: &str = env!("CARGO_BIN_EXE_docker-credential-ecr-broker");
const NO_BROKER: &str = "unix:/dev/null";

/// docker's engine API, as far as `docker pull` and `docker build` without its `buildx` need it.
struct Engine {
    directory: tempfile::TempDir,
    credentials: Arc<Mutex<Vec<Value>>>,
}

impl Engine {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("docker.sock")).unwrap();
        let credentials = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&credentials);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                answer(&stream, &recorded);
            }
        });
        Self { directory, credentials }
    }

    /// Runs docker with this configuration, and returns its output and the credentials that it sent.
    fn docker(&self, config: &Value, broker: &str, arguments: &[&str]) -> (Output, Vec<Value>) {
        self.run(config, broker, "docker", arguments)
    }

    /// Runs a program that runs docker.
    fn run(&self, config: &Value, broker: &str, program: &str, arguments: &[&str]) -> (Output, Vec<Value>) {
        let place = self.directory.path();
        fs::write(place.join("config.json"), config.to_string()).unwrap();
        fs::write(place.join("Dockerfile"), "FROM scratch\n").unwrap();
        let helper = place.join("docker-credential-ecr-broker");
        if !helper.exists() {
            symlink(HELPER, helper).unwrap();
        }
        let mut docker = Command::new(program);
        docker.args(arguments).current_dir(place).env_clear().env("DOCKER_BUILDKIT", "0");
        docker.env("PATH", path(place)).env("HOME", place).env("DOCKER_CONFIG", place);
        docker
            .env("XDG_RUNTIME_DIR", place)
            .env("DOCKER_HOST", format!("unix://{}/docker.sock", place.display()))
            .env("ECR_BROKER_ADDRESS", broker);
        let output = run(&mut docker);
        (output, std::mem::take(&mut *self.credentials.lock().unwrap()))
    }
}

fn path(place: &Path) -> String {
    format!("{}:/usr/local/bin:/usr/bin:/bin", place.display())
}

/// Answers one request. Before that it records the credentials in its headers, or those of a login: docker ends with the answer.
fn answer(stream: &UnixStream, recorded: &Mutex<Vec<Value>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut request = String::new();
    reader.read_line(&mut request).unwrap();
    let headers = headers(&mut reader);
    let sent_body = read_body(&mut reader, &headers);
    let is_login = request.starts_with("POST") && request.contains("/auth ");
    let sent = if is_login { serde_json::from_slice(&sent_body).ok() } else { sent_in(&headers) };
    recorded.lock().unwrap().extend(sent);
    let body = if is_login {
        r#"{"Status":"Login Succeeded","IdentityToken":""}"#
    } else if request.contains("/_ping") {
        "OK"
    } else {
        "{\"status\":\"done\"}\n"
    };
    answer_with(stream, if request.starts_with("HEAD") { "" } else { body });
}

/// Returns the credentials in the headers of a request.
fn sent_in(headers: &BTreeMap<String, String>) -> Option<Value> {
    let sent = headers.get("x-registry-auth").or_else(|| headers.get("x-registry-config"))?;
    Some(serde_json::from_slice(&BASE64URL.decode(sent.as_bytes()).unwrap()).unwrap())
}

fn answer_with(mut stream: &UnixStream, body: &str) {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nOstype: linux\r\nBuilder-Version: 1\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((answer + body).as_bytes()).unwrap();
}

fn headers(reader: &mut BufReader<UnixStream>) -> BTreeMap<String, String> {
    let lines = reader.lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    lines
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
        .collect()
}

fn read_body(reader: &mut BufReader<UnixStream>, headers: &BTreeMap<String, String>) -> Vec<u8> {
    let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    while headers.contains_key("transfer-encoding") {
        let mut size = String::new();
        reader.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).unwrap();
        if size == 0 {
            break;
        }
        body.extend_from_slice(&chunk[..size]);
    }
    body
}

/// Both ways in which docker's file names the helper.
fn configurations() -> [Value; 2] {
    [
        json!({ "credsStore": "ecr-broker" }),
        json!({ "credHelpers": { PRIVATE: "ecr-broker", "public.ecr.aws": "ecr-broker" } }),
    ]
}

#[test]
#[ignore = "needs docker's command line, which .ci/tools installs"]
fn docker_pulls_and_builds_while_the_helper_fails_and_shows_the_reason() {
    let engine = Engine::start();
    let image = format!("{PRIVATE}/team/app");
    for config in configurations() {
        for (arguments, is_ecr) in [
            (&["pull", "ghcr.io/a/b"][..], false),
            (&["pull", "busybox"], false),
            (&["pull", &image], true),
            (&["build", "."], config.get("credHelpers").is_some()),
        ] {
            let (output, sent) = engine.docker(&config, NO_BROKER, arguments);
            assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
            assert!(!sent.iter().any(|sent| sent.to_string().contains("password")), "{sent:?}");
            let shown = text(&output.stderr);
            assert!(!is_ecr || shown.contains("ecr-broker: no broker answers"), "{arguments:?}: {shown}");
        }
        let (output, _) = engine.docker(&config, "https://broker.example", &["pull", "ghcr.io/a/b"]);
        assert!(output.status.success(), "a mistake in the settings: {}", text(&output.stderr));
    }
}

#[test]
#[ignore = "needs docker's command line, which .ci/tools installs"]
fn docker_sends_the_brokers_credentials_to_pull_and_build() {
    let engine = Engine::start();
    let broker = simulated_broker(&[], &[]);
    let image = format!("{PRIVATE}/team/app");
    for config in configurations() {
        let (output, sent) = engine.docker(&config, &broker.address, &["pull", &image]);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
        assert_eq!(sent[0]["username"], "AWS");
        let (output, sent) = engine.docker(&config, &broker.address, &["build", "."]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let sent = sent[0].as_object().unwrap();
        // The list of a credsStore has URLs.
        let (_, entry) = sent.iter().find(|(server, _)| server.contains(PRIVATE)).unwrap();
        assert_eq!(entry["username"], "AWS");
    }
    broker.stop();
}

/// A docker configuration with a login to another registry, and without the helper.
fn with_another_login() -> Value {
    json!({ "auths": { "ghcr.io": { "auth": "dXNlcjpzM2NyZXQ=" } } })
}

#[test]
#[ignore = "needs docker's command line, which .ci/tools installs"]
fn docker_pulls_and_builds_under_exec_with_the_users_other_logins() {
    let engine = Engine::start();
    let broker = simulated_broker(&[], &[]);
    let image = format!("{PRIVATE}/team/app");
    for flags in [&["exec"][..], &["exec", "--static"]] {
        let docker = |arguments: &[&str]| {
            let arguments = [flags, &[&image, "--", "docker"], arguments].concat();
            engine.run(&with_another_login(), &broker.address, PROGRAM, &arguments)
        };
        let (output, sent) = docker(&["pull", &image]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(sent[0]["username"], "AWS");
        let (_, sent) = docker(&["pull", "ghcr.io/a/b"]);
        assert_eq!((&sent[0]["username"], &sent[0]["password"]), (&"user".into(), &"s3cret".into()));
        let (output, sent) = docker(&["build", "."]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let sent = sent[0].as_object().unwrap();
        assert_eq!((&sent[PRIVATE]["username"], &sent["ghcr.io"]["username"]), (&"AWS".into(), &"user".into()));
    }
    broker.stop();
}

#[test]
#[ignore = "needs docker's command line, which .ci/tools installs"]
fn docker_is_logged_in_with_the_password_on_its_stdin() {
    let engine = Engine::start();
    let broker = simulated_broker(&[], &[]);
    let (output, sent) = engine.run(&json!({}), &broker.address, PROGRAM, &["login", "docker", PRIVATE]);
    assert!(output.status.success() && text(&output.stdout).contains("Login Succeeded"), "{output:?}");
    assert_eq!((&sent[0]["username"], &sent[0]["serveraddress"]), (&"AWS".into(), &PRIVATE.into()));
    assert!(sent[0]["password"].as_str().unwrap().len() > 1500);
    broker.stop();
}
