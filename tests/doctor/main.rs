//! `doctor` against brokers, registries and files with one fault each: the step that fails, its fix, and no secret.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../certificates/mod.rs"]
mod certificates;
#[path = "../program/mod.rs"]
mod program;

mod broker;
mod grants;
mod mode;
mod registry;
mod tools;
mod upstream;

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use certificates::{Authority, Pair};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use program::{Ended, PROGRAM, Server, copy_to, program, run, simulated_broker};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const HELPER: &str = env!("CARGO_BIN_EXE_docker-credential-ecr-broker");
const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const PUBLIC: &str = "public.ecr.aws";
/// Access keys for brokers in front of a simulated AWS.
const KEYS: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "example"), ("AWS_REGION", "eu-central-1")];
const STEPS: [&str; 10] = ["settings", "address", "health", "caller", "grant", "AWS", "token", "/v2/", "mode", "tools"];

/// A home directory with the files of one test only.
struct Workspace {
    directory: tempfile::TempDir,
}

/// The output of `doctor`.
#[derive(Debug)]
struct Diagnosis {
    ended: Ended,
}

/// A registry with scripted answers. It keeps the Authorization headers that it receives.
struct Registry {
    url: String,
    received: Arc<Mutex<Vec<String>>>,
}

impl Workspace {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Starts a broker with these grants and returns its address.
    fn broker(&self, grants: &str) -> (String, Server) {
        let address = format!("unix:{}", self.path("broker.sock").display());
        let config = self.write("broker.toml", &format!("server.listen = [\"{address}\"]\n{grants}\n"));
        (address, Server::start(&["serve", "--simulate", "--config", &config], &[]))
    }

    fn command(&self) -> Command {
        let path = format!("{}:/usr/bin:/bin", Path::new(HELPER).parent().unwrap().display());
        let mut command = program(&[]);
        command.env("PATH", path).env("HOME", self.directory.path()).env("DOCKER_CONFIG", self.path("docker"));
        command.env_remove("REGISTRY_AUTH_FILE").arg("doctor").stdin(Stdio::null());
        command
    }

    fn doctor(&self, address: &str, arguments: &[&str]) -> Diagnosis {
        diagnose(self.command().args(["--address", address]).args(arguments))
    }
}

fn diagnose(command: &mut Command) -> Diagnosis {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ended = Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) };
    assert_eq!(ended.stderr, "", "{}", ended.stdout);
    Diagnosis { ended }
}

impl Diagnosis {
    /// Returns the name and state of each step, in order.
    fn states(&self) -> Vec<(&str, &str)> {
        let heads = self.ended.stdout.lines().filter(|line| !line.starts_with(' '));
        heads.map(|line| (line[6..16].trim(), line[..4].trim())).collect()
    }

    /// Returns a step's line with its notes and fixes.
    fn step(&self, step: &str) -> String {
        let lines = self.ended.stdout.lines();
        let mut from = lines.skip_while(|line| line.starts_with(' ') || line[6..16].trim() != step);
        let head = from.next().unwrap_or_else(|| panic!("no {step}: {}", self.ended.stdout));
        let below = from.take_while(|line| line.starts_with(' '));
        std::iter::once(head).chain(below).collect::<Vec<_>>().join("\n")
    }

    /// Asserts that this step is the first to fail, prints these words and a fix, and that the later steps are skipped.
    fn fails_at(&self, step: &str, code: i32, words: &[&str]) -> &Self {
        let states = self.states();
        let at = STEPS.iter().position(|known| *known == step).unwrap();
        for (number, (name, state)) in states.iter().filter(|(name, _)| !["mode", "tools"].contains(name)).enumerate() {
            assert_eq!(*name, STEPS[number], "{}", self.ended.stdout);
            let good = match number {
                number if number < at => *state != "FAIL",
                number if number == at => *state == "FAIL",
                _ => *state == "skip",
            };
            assert!(good, "{name}: {}", self.ended.stdout);
        }
        assert_eq!(self.ended.code, code, "{}", self.ended.stdout);
        let diagnosis = self.step(step);
        assert!(diagnosis.contains("      fix: "), "{diagnosis}");
        for word in words {
            assert!(diagnosis.contains(word), "{word:?} is missing: {diagnosis}");
        }
        self
    }

    fn never_prints(&self, secret: &str) {
        for start in (0..secret.len()).step_by(16) {
            let part = &secret[start..(start + 16).min(secret.len())];
            assert!(part.len() < 16 || !self.ended.stdout.contains(part), "{part} of the password is printed");
        }
    }
}

/// Scripted answers: each once, then the last one again and again.
struct Answers(VecDeque<String>);

impl Answers {
    fn of(answers: &[&str]) -> Self {
        Self(answers.iter().map(|answer| (*answer).to_owned()).collect())
    }

    fn next(&mut self) -> String {
        let answer = if self.0.len() > 1 { self.0.pop_front() } else { self.0.front().cloned() };
        answer.unwrap()
    }
}

impl Registry {
    fn answering(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let (mut answers, kept) = (Answers::of(answers), Arc::clone(&received));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let answer = answers.next();
                serve(&mut stream.unwrap(), &answer, &kept);
            }
        });
        Self { url, received }
    }

    fn over_tls(pair: &Pair, answer: &str) -> Self {
        let config = tls(pair, &[]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let received = Arc::new(Mutex::new(Vec::new()));
        let (answer, kept) = (answer.to_owned(), Arc::clone(&received));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                serve(&mut StreamOwned::new(connection, stream.unwrap()), &answer, &kept);
            }
        });
        Self { url, received }
    }

    /// A registry behind an HTTP proxy, which accepts every host name.
    fn behind_a_proxy(pair: &Pair, answers: &[&str]) -> Self {
        let config = tls(pair, &[]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let (mut answers, kept) = (Answers::of(answers), Arc::clone(&received));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                // The client sends nothing after CONNECT until it has the answer.
                let lines = BufReader::new(&mut stream).lines().map_while(Result::ok);
                let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
                assert!(head[0].starts_with("CONNECT "), "{head:?}");
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                let answer = answers.next();
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                serve(&mut StreamOwned::new(connection, stream), &answer, &kept);
            }
        });
        Self { url, received }
    }

    fn received(&self) -> Vec<String> {
        self.received.lock().unwrap().clone()
    }
}

fn tls(pair: &Pair, protocols: &[&str]) -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = versions.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_owned()).collect();
    Arc::new(config)
}

/// Starts a TLS server that offers only HTTP/1.1 by ALPN, and returns its port.
fn web_server(pair: &Pair) -> u16 {
    let config = tls(pair, &["http/1.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            serve(&mut StreamOwned::new(connection, stream.unwrap()), "200 OK", &Mutex::default());
        }
    });
    port
}

/// Answers one request, if there is one. Before that it keeps the Authorization header: the client may end with the answer.
fn serve(stream: &mut (impl Read + Write), answer: &str, kept: &Mutex<Vec<String>>) {
    let lines = BufReader::new(&mut *stream).lines().map_while(Result::ok);
    let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let Some(request) = head.first() else { return };
    if request == "GET /v2/ HTTP/1.1" {
        let header = head.iter().find_map(|line| line.strip_prefix("authorization: "));
        kept.lock().unwrap().push(header.unwrap_or_default().to_owned());
    }
    // The client may have closed the connection.
    _ = write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    _ = stream.flush();
}

fn password(broker: &str, registry: &str) -> String {
    run(&["get", "--address", broker, "-o", "password", registry], &[]).out().trim().to_owned()
}

#[test]
fn p10_healthy_pull_passes_every_step_and_prints_no_password() {
    let (workspace, broker) = (Workspace::new(), simulated_broker(&[], &[]));
    for (registry, scheme) in [(PRIVATE, "Basic"), (PUBLIC, "Bearer")] {
        workspace.write("docker/config.json", &format!(r#"{{"credHelpers":{{"{registry}":"ecr-broker"}}}}"#));
        let registry_server = Registry::answering(&["200 OK"]);
        let image = format!("https://{registry}/team/app:v1");
        let diagnosis = workspace.doctor(&broker.address, &[&image, "--registry-url", &registry_server.url]);
        assert_eq!(diagnosis.states(), STEPS.map(|step| (step, "ok")), "{}", diagnosis.ended.stdout);
        assert_eq!(diagnosis.ended.code, 0);
        assert!(diagnosis.step("/v2/").contains("accepts the credential (200)"), "{}", diagnosis.ended.stdout);
        assert!(diagnosis.step("token").contains("valid for another 11h 59m"), "{}", diagnosis.ended.stdout);
        let secret = password(&broker.address, registry);
        diagnosis.never_prints(&secret);
        let encoded = BASE64.encode(format!("AWS:{secret}").as_bytes());
        diagnosis.never_prints(&encoded);
        assert_eq!(registry_server.received(), [format!("{scheme} {encoded}")]);
    }
}

#[test]
fn doctor_without_registry_lists_what_the_caller_may_request() {
    let (workspace, broker) = (Workspace::new(), simulated_broker(&[], &[]));
    let diagnosis = workspace.doctor(&broker.address, &[]);
    assert_eq!(diagnosis.ended.code, 0);
    let steps = ["settings", "address", "health", "caller", "registries", "mode"];
    assert_eq!(diagnosis.states(), steps.map(|step| (step, "ok")));
    assert!(diagnosis.step("registries").contains("public.ecr.aws (profile default)"), "{}", diagnosis.ended.stdout);
    let (address, _broker) = workspace.broker("grants = []");
    let diagnosis = workspace.doctor(&address, &[]);
    assert!(
        diagnosis.ended.code == 4 && diagnosis.step("registries").contains("fix: name a registry"),
        "{diagnosis:?}"
    );
}
