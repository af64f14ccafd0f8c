//! `doctor` against brokers, registries and files with one fault each: the step that fails, its fix, and no secret.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod certificates;
mod program;

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
use program::{Ended, PROGRAM, Server, program, run, simulated_broker};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const HELPER: &str = env!("CARGO_BIN_EXE_docker-credential-ecr-broker");
const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const PUBLIC: &str = "public.ecr.aws";
/// Access keys for brokers in front of a simulated AWS.
const KEYS: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "example"), ("AWS_REGION", "eu-central-1")];
const STEPS: [&str; 9] = ["settings", "address", "health", "caller", "grant", "AWS", "token", "/v2/", "tools"];

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
        for (number, (name, state)) in states.iter().filter(|(name, _)| *name != "tools").enumerate() {
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
                kept.lock().unwrap().extend(serve(&mut stream.unwrap(), &answer));
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
                let header = serve(&mut StreamOwned::new(connection, stream.unwrap()), &answer);
                kept.lock().unwrap().extend(header);
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
                kept.lock().unwrap().extend(serve(&mut StreamOwned::new(connection, stream), &answer));
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
            serve(&mut StreamOwned::new(connection, stream.unwrap()), "200 OK");
        }
    });
    port
}

/// Answers one request and returns its Authorization header, or `None` without a request.
fn serve(stream: &mut (impl Read + Write), answer: &str) -> Option<String> {
    let lines = BufReader::new(&mut *stream).lines().map_while(Result::ok);
    let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let request = head.first()?;
    // The client may have closed the connection.
    _ = write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    _ = stream.flush();
    let header = head.iter().find_map(|line| line.strip_prefix("authorization: "));
    (request == "GET /v2/ HTTP/1.1").then(|| header.unwrap_or_default().to_owned())
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
    let steps = ["settings", "address", "health", "caller", "registries"];
    assert_eq!(diagnosis.states(), steps.map(|step| (step, "ok")));
    assert!(diagnosis.step("registries").contains("public.ecr.aws (profile default)"), "{}", diagnosis.ended.stdout);
    let (address, _broker) = workspace.broker("grants = []");
    let diagnosis = workspace.doctor(&address, &[]);
    assert!(
        diagnosis.ended.code == 4 && diagnosis.step("registries").contains("fix: name a registry"),
        "{diagnosis:?}"
    );
}

#[test]
fn address_step_explains_each_way_to_miss_a_broker() {
    let workspace = Workspace::new();
    let missing = format!("unix:{}", workspace.path("no.sock").display());
    workspace.doctor(&missing, &[PRIVATE]).fails_at(
        "address",
        5,
        &["the socket does not exist", "fix: start the broker"],
    );
    // The socket file stays after its listener is gone.
    drop(UnixListener::bind(workspace.path("old.sock")).unwrap());
    let gone = format!("unix:{}", workspace.path("old.sock").display());
    workspace.doctor(&gone, &[PRIVATE]).fails_at(
        "address",
        5,
        &["nothing listens there", "fix: restart the broker that created the socket"],
    );
    let refused = workspace.doctor("http://127.0.0.1:1", &[PRIVATE]);
    refused.fails_at("address", 5, &["nothing listens there", "ecr-broker serve --listen 127.0.0.1:1"]);
    let unknown = workspace.doctor("http://broker.invalid:50051", &[PRIVATE]);
    unknown.fails_at("address", 5, &["does not resolve", "DNS"]);
    let file = format!("unix:{}", workspace.write("file", ""));
    workspace.doctor(&file, &[PRIVATE]).fails_at("address", 5, &["it is not a socket", "fix: correct the address"]);
    // A listener that accepts connections and sends nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    // doctor waits as long as other commands do.
    let diagnosis =
        diagnose(workspace.command().env("ECR_BROKER_TIMEOUT", "500ms").args(["--address", &address, PRIVATE]));
    diagnosis.fails_at("address", 5, &["it accepts connections but sends nothing", "check the broker's log"]);
    let web = Registry::answering(&["400 Bad Request"]);
    let diagnosis = workspace.command().args(["--address", &web.url, PRIVATE]).output().unwrap();
    assert!(String::from_utf8(diagnosis.stdout).unwrap().contains("does not speak gRPC"));
    let neither = workspace.doctor(&format!("{missing},http://127.0.0.1:1"), &[PRIVATE]);
    neither.fails_at("address", 5, &[&format!("fix: {missing}: start the broker"), "fix: http://127.0.0.1:1: start"]);
    // doctor uses the next address, and prints the skipped one.
    let broker = simulated_broker(&[], &[]);
    let diagnosis = workspace.doctor(&format!("{missing},{}", broker.address), &[]);
    assert!(
        diagnosis.ended.code == 0 && diagnosis.step("address").contains("the socket does not exist"),
        "{diagnosis:?}"
    );
}

/// Root may open every file. A test that runs as root runs the program as another user.
#[test]
fn closed_socket_names_the_group_that_opens_it() {
    const DAEMON: u32 = 1;
    const BIN: u32 = 2;
    const UNLISTED: u32 = 12345;
    let workspace = Workspace::new();
    let (address, _broker) = workspace.broker("");
    let socket = workspace.path("broker.sock");
    let reachable = workspace.path("ecr-broker");
    fs::hard_link(PROGRAM, &reachable).or_else(|_| fs::copy(PROGRAM, &reachable).map(drop)).unwrap();
    let doctor = |user: Option<u32>, address: &str, words: &[&str]| {
        let mut command = Command::new(&reachable);
        command.env_clear().args(["doctor", PRIVATE, "--address", address]).stdin(Stdio::null());
        if let Some(user) = user {
            command.uid(user).gid(UNLISTED);
        }
        let diagnosis = diagnose(&mut command);
        diagnosis.fails_at("address", 5, &[&["permission denied", "(owner ", "in groups "], words].concat());
    };
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o000)).unwrap();
        return doctor(None, &address, &["broker.sock (owner ", "set server.socket_group to a group that you are in"]);
    }
    let of_group = |group: u32| std::os::unix::fs::chown(&socket, Some(0), Some(group)).unwrap();
    of_group(BIN);
    doctor(Some(DAEMON), &address, &["broker.sock (owner ", "fix: sudo usermod -aG bin daemon, and log in again"]);
    doctor(Some(UNLISTED), &address, &["--group-add 2", "supplementalGroups: [2]"]);
    of_group(0);
    doctor(Some(DAEMON), &address, &["a group for callers only", "members of root can do far more"]);
    // A link leads into a directory that denies access.
    let hidden = workspace.path("hidden");
    fs::create_dir_all(hidden.join("run")).unwrap();
    fs::rename(&socket, hidden.join("run/broker.sock")).unwrap();
    std::os::unix::fs::symlink("hidden/run", workspace.path("run")).unwrap();
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o710)).unwrap();
    std::os::unix::fs::chown(&hidden, Some(0), Some(BIN)).unwrap();
    let by = format!("permission denied by {} (owner root, group bin, mode 0710)", hidden.display());
    let through = format!("unix:{}", workspace.path("run/broker.sock").display());
    doctor(Some(DAEMON), &through, &[&by, "usermod -aG bin daemon"]);
}

#[test]
fn address_step_explains_each_tls_failure() {
    let workspace = Workspace::new();
    let directory = workspace.directory.path();
    let (ours, theirs) = (Authority::new(directory, "ours.pem", "ours"), Authority::new(directory, "theirs.pem", "b"));
    let serve = |pair: &Pair, name: &str| {
        let (certificate, key) = pair.write(directory, name);
        let tls = format!(
            "server.tls = {{ certificate = {certificate:?}, key = {key:?} }}\n\
             authentication.client_ca = {{ \"a.example\" = {:?} }}\ngrants = []\n",
            ours.file
        );
        let config = workspace.write(&format!("{name}.toml"), &tls);
        // Without --simulate, which would accept every loopback caller.
        let broker = Server::start(&["serve", "--config", &config, "--listen", "127.0.0.1:0"], &KEYS);
        let port = broker.address.rsplit(':').next().unwrap().to_owned();
        (broker, port)
    };
    let (_broker, port) = serve(&ours.server(), "good");
    let (own, https) = (ours.file.to_str().unwrap(), format!("https://localhost:{port}"));
    let unknown = workspace.doctor(&https, &[PRIVATE, "--tls-ca", theirs.file.to_str().unwrap()]);
    unknown.fails_at("address", 5, &["signed by an untrusted authority", "--tls-ca"]);
    let other = workspace.doctor(&format!("https://127.0.0.1:{port}"), &[PRIVATE, "--tls-ca", own]);
    other.fails_at("address", 5, &["for another name"]);
    let clear = workspace.doctor(&format!("http://localhost:{port}"), &[PRIVATE]);
    clear.fails_at("address", 5, &["it speaks TLS", &format!("write the address as https://localhost:{port}")]);
    let anonymous = workspace.doctor(&https, &[PRIVATE, "--tls-ca", own]);
    anonymous.fails_at("caller", 4, &["CALLER_UNAUTHENTICATED", "fix: authenticate: --token-file"]);
    let expired = serve(&ours.server_until(2001), "old");
    let diagnosis = workspace.doctor(&format!("https://localhost:{}", expired.1), &[PRIVATE, "--tls-ca", own]);
    diagnosis.fails_at("address", 5, &["has expired by this machine's clock", "server.tls.certificate"]);
    let (stranger, key) = theirs.workload(certificates::RUNNER).write(directory, "stranger");
    let identity = ["--tls-cert", stranger.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let refused = workspace.doctor(&https, &[&[PRIVATE, "--tls-ca", own], &identity[..]].concat());
    // The moment at which a client sees the rejection varies.
    let step = refused.step(if refused.states()[1].1 == "FAIL" { "address" } else { "health" });
    assert!(refused.ended.code == 5 && step.contains("authentication.client_ca"), "{refused:?}");

    // Servers with and without ALPN.
    let silent = Registry::over_tls(&ours.server(), "200 OK").url;
    for web in [format!("https://localhost:{}", web_server(&ours.server())), silent] {
        let diagnosis = workspace.doctor(&web, &[PRIVATE, "--tls-ca", own]);
        diagnosis.fails_at(
            "address",
            5,
            &["without HTTP/2", "fix: correct the address: use the broker's server.listen"],
        );
        assert!(!diagnosis.step("address").contains("client_ca"), "{diagnosis:?}");
    }

    let plain = simulated_broker(&[], &[]);
    let diagnosis = workspace.doctor(&plain.address.replace("grpc://", "https://"), &[PRIVATE]);
    diagnosis.fails_at("address", 5, &["it does not speak TLS", "write the address as http://127.0.0.1:"]);
}

#[test]
fn unusable_files_fail_the_settings_step() {
    let (workspace, broker) = (Workspace::new(), simulated_broker(&[], &[]));
    let doctor = |arguments: &[&str]| workspace.doctor(&broker.address, &[&[PRIVATE], arguments].concat());
    let token = |exp: u64| {
        let claims = BASE64URL_NOPAD.encode(format!(r#"{{"sub":"s3cret","exp":{exp}}}"#).as_bytes());
        workspace.write("token", &format!("e30.{claims}.c2lnbmF0dXJl"))
    };
    let expired = doctor(&["--token-file", &token(1_000_000_000)]);
    expired.fails_at(
        "settings",
        4,
        &["token has expired: token_file ", "(--token-file): at 2001-09-09", "write a new token"],
    );
    assert!(!expired.ended.stdout.contains("s3cret") && !expired.ended.stdout.contains("c2lnbmF0dXJl"));
    let missing = doctor(&["--token-file", "/no/token"]);
    missing.fails_at(
        "settings",
        1,
        &["file cannot be read: token_file /no/token (--token-file): ", "fix: create the file"],
    );
    let no_authority = doctor(&["--tls-ca", &workspace.write("ca.pem", "nothing")]);
    no_authority.fails_at("settings", 1, &["file contains no PEM certificate: tls_ca "]);
    let authority = Authority::new(workspace.directory.path(), "authority.pem", "a");
    let (old, key) = authority.server_until(2001).write(workspace.directory.path(), "old");
    let old = ["--tls-cert", old.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    doctor(&old).fails_at(
        "settings",
        4,
        &["client certificate has expired: tls_cert ", "valid until 2001-01-01", "get a new certificate"],
    );
    let ca = authority.file.to_str().unwrap();
    doctor(&["--tls-cert", ca, "--tls-key", key.to_str().unwrap()]).fails_at(
        "settings",
        4,
        &["client certificate is a CA certificate: tls_cert ", "basicConstraints=critical,CA:FALSE"],
    );
    let (good, _) = authority.server().write(workspace.directory.path(), "good");
    let no_key = workspace.write("no.key", "nothing");
    let mut command = workspace.command();
    command.env("ECR_BROKER_TLS_KEY", &no_key).args(["--address", &broker.address, PRIVATE, "--tls-cert"]).arg(good);
    diagnose(&mut command).fails_at(
        "settings",
        1,
        &[&format!("file contains no PEM private key: tls_key {no_key} (ECR_BROKER_TLS_KEY)")],
    );
    // doctor does not know whether the broker accepts tokens; the broker refuses this one.
    let no_issuer = doctor(&["--token-file", &token(32_503_680_000)]);
    no_issuer.fails_at("caller", 4, &["accepts no bearer tokens", "remove token_file"]);
    assert!(no_issuer.step("settings").contains("a token until 3000-01-01"), "{no_issuer:?}");
}

#[test]
fn settings_are_printed_with_their_origin() {
    let (workspace, broker) = (Workspace::new(), simulated_broker(&[], &[]));
    let client = workspace
        .write(".config/ecr-broker/client.toml", &format!("address = {:?}\ntimeout = \"7s\"\n", broker.address));
    let diagnosis = diagnose(workspace.command().env("ECR_BROKER_PROFILE", "pull").arg(PRIVATE));
    diagnosis.fails_at("grant", 1, &["PROFILE_UNKNOWN", "\"pull\" comes from ECR_BROKER_PROFILE"]);
    let settings = diagnosis.step("settings");
    for said in [format!("({client})"), "profile pull (ECR_BROKER_PROFILE)".into(), format!("timeout 7s ({client})")] {
        assert!(settings.contains(&said), "{said}: {settings}");
    }
    workspace.write(".config/ecr-broker/client.toml", "adress = 1\n");
    diagnose(workspace.command().arg(PRIVATE)).fails_at("settings", 1, &["adress", &format!("fix: correct {client}")]);
}

#[test]
fn printed_grant_is_sufficient_for_the_caller() {
    let workspace = Workspace::new();
    let others = "[[grants]]\nid = \"others\"\ncallers = [{ uid = 4242 }]\nregistries = [{ public = true }]";
    let registry_server = Registry::answering(&["200 OK"]);
    for registry in [PRIVATE, PUBLIC] {
        let with_url = [registry, "--registry-url", &registry_server.url];
        let (address, broker) = workspace.broker(others);
        let diagnosis = workspace.doctor(&address, &with_url);
        diagnosis.fails_at("grant", 4, &["CALLER_NOT_ALLOWED", "[[grants]]", "effect = \"deny\""]);
        assert!(diagnosis.step("caller").contains("grants: none for this caller"), "{diagnosis:?}");
        let step = diagnosis.step("grant");
        let block = step.lines().filter(|line| line.starts_with("           ")).collect::<Vec<_>>().join("\n");
        let explain = step.split("which grant decides: ").nth(1).unwrap().lines().next().unwrap();
        broker.stop();

        let (address, broker) = workspace.broker(&format!("{others}\n{block}"));
        let diagnosis = workspace.doctor(&address, &with_url);
        assert_eq!(diagnosis.ended.code, 0, "{}\n{block}", diagnosis.ended.stdout);
        // The printed command works for the operator.
        let config = workspace.path("broker.toml");
        let explain = explain.replace("FILE", config.to_str().unwrap());
        let explain: Vec<_> = explain.split(' ').skip(1).collect();
        assert!(run(&explain, &[]).out().contains("allowed by grant \"uid-"), "{explain:?}");
        broker.stop();
    }
    let config = workspace.write("loopback.toml", "grants = []\n");
    let broker = Server::start(&["serve", "--simulate", "--config", &config, "--listen", "127.0.0.1:0"], &[]);
    let diagnosis = workspace.doctor(&broker.address, &[PRIVATE, "--profile", "pull"]);
    diagnosis.fails_at(
        "grant",
        4,
        &[
            "fix: request another profile, or none: \"pull\" comes from --profile\n      fix: or, if the broker has a profile",
            "callers = [{ loopback = true }]",
            "profile = \"pull\"",
        ],
    );
}

#[test]
fn printed_grants_fit_into_one_configuration() {
    let workspace = Workspace::new();
    let others = "[[profiles]]\nname = \"pull\"\nrole_chain = [\"arn:aws:iam::123456789012:role/x\"]\n[[grants]]\nid = \"others\"\ncallers = [{ uid = 4242 }]\nregistries = [{ public = true }]";
    let (address, _broker) = workspace.broker(others);
    let (near, far) = ("210987654321.dkr.ecr.eu-central-1.amazonaws.com", PRIVATE.replace("eu-central-1", "us-east-1"));
    let mut blocks = Vec::new();
    for arguments in [&[PRIVATE][..], &[PRIVATE, "--profile", "pull"], &[&far], &[near], &[PUBLIC]] {
        let step = workspace.doctor(&address, arguments).step("grant");
        blocks.extend(step.lines().filter(|line| line.starts_with("           ")).map(str::to_owned));
    }
    let config = workspace.write("all.toml", &format!("{others}\n{}\n", blocks.join("\n")));
    assert_eq!(blocks.iter().filter(|line| line.contains("[[grants]]")).count(), 5);
    let checked = run(&["config", "check", "--config", &config], &[]);
    assert!(checked.code == 0 && checked.stdout.contains("is valid"), "{checked:?}");
}

#[test]
fn alias_fixes_name_no_unknown_host() {
    const ALIAS: &str = "registry.corp.example";
    let workspace = Workspace::new();
    let config = workspace.write("aliases.toml", &format!("[aliases]\n\"{ALIAS}\" = \"{PRIVATE}\"\n"));
    let broker = |fault: &str| simulated_broker(&["--config", &config, "--simulate-fault", fault], &[]);
    workspace.write("docker/config.json", &format!(r#"{{"credHelpers":{{"{ALIAS}":"ecr-broker"}}}}"#));
    for (fault, code, words) in [
        ("server-error=1", 5, ["AWS_UNAVAILABLE", "[aliases]"]),
        ("denied=1", 4, ["ecr:GetAuthorizationToken", "ecr-public:GetAuthorizationToken"]),
    ] {
        let diagnosis = workspace.doctor(&broker(fault).address, &[ALIAS]);
        diagnosis.fails_at("AWS", code, &words);
        assert!(!diagnosis.ended.stdout.contains("amazonaws.com"), "{diagnosis:?}");
        assert!(diagnosis.step("tools").starts_with("ok "), "{diagnosis:?}");
    }
    workspace.write("docker/config.json", "{}");
    let diagnosis = workspace.doctor(&broker("denied=1").address, &[ALIAS]);
    assert!(
        diagnosis.step("tools").contains(&format!("[aliases]: ecr-broker configure docker {ALIAS}")),
        "{diagnosis:?}"
    );
    let (address, _broker) = workspace.broker(&format!("grants = []\naliases = {{ \"{ALIAS}\" = \"{PRIVATE}\" }}"));
    let diagnosis = workspace.doctor(&address, &[ALIAS]);
    diagnosis.fails_at("grant", 4, &["the registry behind this name in [aliases]", "which grant decides"]);
}

#[test]
fn other_registry_fails_with_the_exit_code_of_get() {
    let (workspace, broker) = (Workspace::new(), simulated_broker(&[], &[]));
    for (registry, reason) in
        [("ghcr.io", "REGISTRY_NOT_ECR"), ("12345.dkr.ecr.eu-central-1.amazonaws.com", "REGISTRY_INVALID")]
    {
        workspace.doctor(&broker.address, &[registry]).fails_at("grant", 3, &[reason, "name the registry as AWS does"]);
    }
}

#[test]
fn aws_errors_are_printed_with_a_fix() {
    let workspace = Workspace::new();
    for (fault, registry, code, words) in [
        ("denied=1", PRIVATE, 4, ["AWS_ACCESS_DENIED", "allow ecr:GetAuthorizationToken on"]),
        (
            "denied=1",
            PUBLIC,
            4,
            ["AWS_ACCESS_DENIED", "ecr-public:GetAuthorizationToken and sts:GetServiceBearerToken"],
        ),
        ("throttle=1", PRIVATE, 5, ["AWS_THROTTLED", "cache.keep_warm"]),
        ("server-error=1", PRIVATE, 5, ["AWS_UNAVAILABLE", "api.ecr.eu-central-1.amazonaws.com:443"]),
        ("garbage=1", PRIVATE, 5, ["AWS_RESPONSE_INVALID", "aws.ecr_endpoint"]),
    ] {
        let broker = simulated_broker(&["--simulate-fault", fault], &[]);
        let diagnosis = workspace.doctor(&broker.address, &[registry]);
        diagnosis.fails_at("AWS", code, &words).fails_at("AWS", code, &["the broker's log has more under request "]);
    }
    let broker = simulated_broker(&["--simulate-fault", "hang=1"], &[]);
    let diagnosis = workspace.doctor(&broker.address, &[PRIVATE, "--timeout", "2s"]);
    diagnosis.fails_at("AWS", 5, &["fix: retry, the broker continues the fetch"]);
}

#[test]
fn broker_without_aws_credentials_still_identifies_the_caller() {
    let workspace = Workspace::new();
    let nothing = [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_REGION", "eu-central-1"), ("HOME", "/nowhere")];
    let broker = Server::start(&["serve", "--allow-loopback", "--listen", "127.0.0.1:0"], &nothing);
    let diagnosis = workspace.doctor(&broker.address, &[PRIVATE]);
    assert_eq!(diagnosis.ended.code, 5, "{}", diagnosis.ended.stdout);
    assert!(
        diagnosis.step("health").contains("fix: ask the operator to give the broker AWS credentials"),
        "{diagnosis:?}"
    );
    let states = [("health", "FAIL"), ("caller", "ok"), ("grant", "ok"), ("AWS", "FAIL"), ("token", "skip")];
    assert_eq!(&diagnosis.states()[2..7], states);
    let aws = diagnosis.step("AWS");
    assert!(aws.contains("AWS_CREDENTIALS_UNAVAILABLE") && aws.contains("more under request "), "{aws}");
}

/// The kernel proves the user of a Unix socket. Root of this host can read the log and the files anyway.
#[test]
fn only_root_and_the_brokers_user_learn_why_credentials_are_missing() {
    const DAEMON: u32 = 1;
    let workspace = Workspace::new();
    let address = format!("unix:{}", workspace.path("broker.sock").display());
    let home = workspace.directory.path().to_str().unwrap();
    let environment = [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_PROFILE", "prodd"), ("HOME", home), KEYS[2]];
    let serve = ["serve", "--listen", "127.0.0.1:0", "--listen", &address, "--allow-loopback"];
    let mut command = program(&environment);
    command.args(serve);
    workspace.write(".aws/credentials", "[default]\naws_access_key_id = A\naws_secret_access_key = very-secret\n");
    let broker = Server::spawn_logging(command);
    broker.until_logged("AWS credentials not found");

    let own = workspace.doctor(&address, &[PRIVATE]);
    let health = own.step("health");
    for words in ["Profile: profile `prodd` was not defined", "AWS_PROFILE=prodd", "fix: ask the operator to give"] {
        assert!(health.contains(words), "{words}: {health}");
    }
    assert!(!own.ended.stdout.contains("very-secret"), "{own:?}");
    let hides_reasons = |diagnosis: &Diagnosis| {
        assert!(!diagnosis.ended.stdout.contains("prodd"), "{diagnosis:?}");
        assert!(diagnosis.step("health").contains("\"AWS credentials not found\""), "{diagnosis:?}");
        assert!(diagnosis.step("AWS").contains("more under request "), "{diagnosis:?}");
    };
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        let reachable = workspace.path("ecr-broker");
        fs::hard_link(PROGRAM, &reachable).or_else(|_| fs::copy(PROGRAM, &reachable).map(drop)).unwrap();
        fs::set_permissions(workspace.path("broker.sock"), fs::Permissions::from_mode(0o666)).unwrap();
        let mut other = Command::new(&reachable);
        other.env_clear().args(["doctor", PRIVATE, "--address", &address]).stdin(Stdio::null()).uid(DAEMON).gid(DAEMON);
        hides_reasons(&diagnose(&mut other));
    }
    // The broker prints its first address.
    hides_reasons(&workspace.doctor(&broker.address, &[PRIVATE]));
}

#[test]
fn certificate_of_aws_outside_its_validity_is_blamed_on_the_clock() {
    let workspace = Workspace::new();
    let authority = Authority::new(workspace.directory.path(), "aws.pem", "aws");
    let aws = Registry::over_tls(&authority.server_until(2001), "200 OK").url;
    let bundle = authority.file.to_str().unwrap();
    let endpoint = [("ECR_BROKER_AWS_ECR_ENDPOINT", aws.as_str()), ("ECR_BROKER_AWS_CA_BUNDLE", bundle)];
    let serve = ["serve", "--allow-loopback", "--listen", "127.0.0.1:0"];
    let broker = Server::start(&serve, &[&KEYS[..], &endpoint].concat());
    let diagnosis = workspace.doctor(&broker.address, &[PRIVATE]);
    let words = ["AWS_CLOCK_SKEWED", "certificate is not valid by the broker's clock", "timedatectl"];
    diagnosis.fails_at("AWS", 5, &words);
}

#[test]
fn stale_credential_is_printed_with_its_expiry() {
    let workspace = Workspace::new();
    let aws = Server::start(&["simulate-aws", "--listen", "127.0.0.1:0"], &[]);
    let config = workspace.write(
        "broker.toml",
        "[cache]\nrefresh_after = \"1s\"\n[aws]\nattempt_timeout = \"1s\"\noperation_timeout = \"1s\"\n",
    );
    let environment = [&KEYS[..], &[("AWS_ENDPOINT_URL", aws.address.as_str())]].concat();
    let serve = ["serve", "--allow-loopback", "--config", &config, "--listen", "127.0.0.1:0"];
    let broker = Server::start(&serve, &environment);
    let registry_server = Registry::answering(&["200 OK"]);
    let doctor = || workspace.doctor(&broker.address, &[PRIVATE, "--registry-url", &registry_server.url]);
    assert_eq!(doctor().ended.code, 0);
    drop(aws);
    // The first read after a second starts a refresh. Its failure shows in the read after that.
    let diagnosis = loop {
        let diagnosis = doctor();
        assert_eq!(diagnosis.ended.code, 0, "the credential is still valid: {diagnosis:?}");
        if diagnosis.ended.stdout.contains("(STALE)") {
            break diagnosis;
        }
    };
    let step = diagnosis.step("AWS");
    assert!(
        step.contains("pulls work until 20") && step.contains("fix: ask the operator to check the broker's log"),
        "{step}"
    );
}

#[test]
fn refused_credential_is_replaced_once() {
    let workspace = Workspace::new();
    let authority = Authority::new(workspace.directory.path(), "authority.pem", "a");
    let mut params = certificates::leaf(&[certificates::dns(PRIVATE)]);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let pair = authority.sign(&params);
    let doctor = |broker: &Server, registry_server: &Registry| {
        let mut command = workspace.command();
        command.env("SSL_CERT_FILE", &authority.file).env("HTTPS_PROXY", &registry_server.url);
        diagnose(command.args(["--address", &broker.address, PRIVATE]))
    };
    let broker = simulated_broker(&[], &[]);
    let registry_server = Registry::behind_a_proxy(&pair, &["401 Unauthorized", "200 OK"]);
    let diagnosis = doctor(&broker, &registry_server);
    assert_eq!(diagnosis.ended.code, 0, "{}", diagnosis.ended.stdout);
    assert!(
        diagnosis.step("/v2/").contains(" was refused (401")
            && diagnosis.step("/v2/").contains("replaced it for every caller"),
        "{diagnosis:?}"
    );
    let [first, second]: [String; 2] = registry_server.received().try_into().unwrap();
    assert_ne!(first, second);

    for (status, words) in [("401 Unauthorized", "SCPs"), ("403 Forbidden", "the policy of the VPC endpoint")] {
        let broker = simulated_broker(&[], &[]);
        let closed = Registry::behind_a_proxy(&pair, &[status]);
        let diagnosis = doctor(&broker, &closed);
        diagnosis.fails_at("/v2/", 4, &["registry refuses the credential", "is refused too", words]);
        diagnosis.never_prints(&password(&broker.address, PRIVATE));
        // The broker replaces a credential at most once a minute.
        let diagnosis = doctor(&broker, &closed);
        diagnosis.fails_at("/v2/", 4, &["refuses the credential"]);
        diagnosis.never_prints(&password(&broker.address, PRIVATE));
    }
}

#[test]
fn refusal_by_another_host_is_not_reported() {
    let (workspace, broker) = (Workspace::new(), simulated_broker(&[], &[]));
    let before = password(&broker.address, PRIVATE);
    let other = Registry::answering(&["401 Unauthorized"]);
    let diagnosis = workspace.doctor(&broker.address, &[PRIVATE, "--registry-url", &other.url]);
    let words =
        ["registry refuses the credential", &format!("not reported to the broker: https://{PRIVATE} may accept")];
    diagnosis.fails_at("/v2/", 4, &words);
    diagnosis.never_prints(&before);
    assert_eq!((other.received().len(), password(&broker.address, PRIVATE)), (1, before));
    let below = run(&["doctor", PRIVATE, "--registry-url", "https://registry.example/proxy"], &[]);
    assert!(below.code == 2 && below.stderr.contains("more than a host and a port"), "{below:?}");
}

#[test]
fn p10_credential_is_sent_to_the_registry_only() {
    let (workspace, broker) = (Workspace::new(), simulated_broker(&[], &[]));
    let other = Registry::answering(&["200 OK"]);
    let registry_server = Registry::answering(&[&format!("307 Temporary Redirect\r\nlocation: {}/v2/", other.url)]);
    let diagnosis = workspace.doctor(&broker.address, &[PRIVATE, "--registry-url", &registry_server.url]);
    diagnosis.fails_at(
        "/v2/",
        1,
        &["registry redirects to another host", "to 127.0.0.1", "was not sent there", "in the registry's place"],
    );
    assert_eq!((registry_server.received().len(), other.received().len()), (1, 0));
    let clear = run(&["doctor", PRIVATE, "--registry-url", "http://registry.example"], &[]);
    assert!(clear.code == 2 && clear.stderr.contains("would receive a credential in the clear"), "{clear:?}");
}

#[test]
fn registry_step_explains_each_way_to_miss_it() {
    let (workspace, broker) = (Workspace::new(), simulated_broker(&[], &[]));
    let doctor = |url: &str, more: &[&str]| {
        workspace.doctor(&broker.address, &[&[PRIVATE, "--registry-url", url], more].concat())
    };
    doctor("http://127.0.0.1:1", &[]).fails_at(
        "/v2/",
        5,
        &["registry cannot be reached", "Connection refused", "HTTPS_PROXY"],
    );
    doctor("https://registry.invalid", &[]).fails_at(
        "/v2/",
        5,
        &["registry name cannot be resolved", "dns error", "VPC endpoint"],
    );
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    doctor(&format!("http://{address}"), &["--timeout", "2s"]).fails_at(
        "/v2/",
        5,
        &["registry does not answer in time", "security groups"],
    );
    let plain = Registry::answering(&["503 Service Unavailable"]);
    doctor(&plain.url, &[]).fails_at("/v2/", 5, &["registry is unavailable", "answers 503", "retry"]);
    let spoken = doctor(&plain.url.replace("http://", "https://"), &[]);
    spoken.fails_at(
        "/v2/",
        5,
        &["TLS to the registry failed", "it does not speak TLS", "another program on that port"],
    );

    let authority = Authority::new(workspace.directory.path(), "authority.pem", "a");
    let registry_server = Registry::over_tls(&authority.server(), "200 OK");
    doctor(&registry_server.url, &[]).fails_at("/v2/", 5, &["signed by an untrusted authority", "SSL_CERT_FILE"]);
    assert!(registry_server.received().is_empty());
    let mut trusting = workspace.command();
    trusting.env("SSL_CERT_FILE", &authority.file);
    let diagnosis =
        diagnose(trusting.args(["--address", &broker.address, PRIVATE, "--registry-url", &registry_server.url]));
    assert!(diagnosis.ended.code == 0 && registry_server.received().len() == 1, "{diagnosis:?}");
}

#[test]
fn tools_step_runs_after_any_failure() {
    let workspace = Workspace::new();
    let tools = |more: &dyn Fn(&mut Command)| {
        let mut command = workspace.command();
        command.args(["--address", "http://127.0.0.1:1", PRIVATE]);
        more(&mut command);
        let diagnosis = diagnose(&mut command);
        assert_eq!(diagnosis.ended.code, 5, "the first failure decides");
        diagnosis.step("tools")
    };
    assert!(tools(&|_| ()).starts_with("skip  tools       docker and podman have no credential file"));
    workspace.write("docker/config.json", r#"{"credHelpers":{"other.example":"ecr-broker"}}"#);
    let unnamed = tools(&|_| ());
    assert!(unnamed.starts_with("skip") && unnamed.contains(&format!("fix: ecr-broker configure docker {PRIVATE}")));
    let configured =
        program(&[]).args(["configure", "docker", PRIVATE]).env("DOCKER_CONFIG", workspace.path("docker")).output();
    assert!(configured.unwrap().status.success());
    assert!(tools(&|_| ()).starts_with("ok    tools"));
    let lost = tools(&|command| _ = command.env("PATH", "/nowhere"));
    assert!(
        lost.starts_with("FAIL")
            && lost.contains("credential helper is not in the PATH")
            && lost.contains("fix: install"),
        "{lost}"
    );
    workspace.write("docker/config.json", r#"{"credsStore":"ecr-broker"}"#);
    assert!(tools(&|_| ()).starts_with("ok    tools"));
    let podman = workspace.write("auth.json", "{}");
    let both = tools(&|command| _ = command.env("REGISTRY_AUTH_FILE", &podman));
    assert!(both.contains(&format!("ecr-broker configure podman {PRIVATE}")), "{both}");
    // podman reads a file of the login, then a permanent one.
    workspace.write("run/containers/auth.json", "{}");
    workspace.write(".config/containers/auth.json", &format!(r#"{{"credHelpers":{{"{PRIVATE}":"ecr-broker"}}}}"#));
    let runtime = |command: &mut Command| _ = command.env("XDG_RUNTIME_DIR", workspace.path("run"));
    let two = tools(&runtime);
    assert!(two.contains("run/containers/auth.json does not name it") && !two.contains("fix:"), "{two}");
    workspace.write(".config/containers/auth.json", "{}");
    let two = tools(&runtime);
    assert!(two.contains(&format!("fix: ecr-broker configure podman {PRIVATE}")), "{two}");
    fs::remove_dir_all(workspace.path(".config/containers")).unwrap();
    workspace.write("docker/config.json", "\"eyJsecret\"");
    let broken = tools(&|_| ());
    assert!(broken.contains("not a JSON object") && !broken.contains("eyJsecret"), "{broken}");
}

#[test]
fn helper_named_ecr_login_is_identified_by_its_program() {
    let workspace = Workspace::new();
    workspace.write("docker/config.json", &format!(r#"{{"credHelpers":{{"{PRIVATE}":"ecr-login"}}}}"#));
    let program = workspace.path("bin/docker-credential-ecr-login");
    fs::create_dir(workspace.path("bin")).unwrap();
    let tools = || {
        let mut command = workspace.command();
        command.env("PATH", workspace.path("bin")).args(["--address", "http://127.0.0.1:1", PRIVATE]);
        diagnose(&mut command).step("tools")
    };
    let missing = tools();
    assert!(
        missing.starts_with("FAIL") && missing.contains("is not in the PATH: docker-credential-ecr-login"),
        "{missing}"
    );
    for ours in [HELPER, PROGRAM] {
        std::os::unix::fs::symlink(ours, &program).unwrap();
        let linked = tools();
        assert!(linked.starts_with("ok ") && linked.contains("as docker-credential-ecr-login"), "{linked}");
        fs::remove_file(&program).unwrap();
    }
    workspace.write("bin/docker-credential-ecr-login", "#!/bin/sh\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let amazon_s = tools();
    assert!(amazon_s.starts_with("skip") && amazon_s.contains("is not the broker's helper"), "{amazon_s}");
    assert!(amazon_s.contains(&format!("fix: ecr-broker configure docker {PRIVATE}")), "{amazon_s}");
}
