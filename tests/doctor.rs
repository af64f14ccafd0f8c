//! What a person sees whose pull fails: for each break its line, what to do about it, and nothing that is secret.

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
/// Keys of no account, for brokers in front of a simulated AWS of their own.
const KEYS: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "example"), ("AWS_REGION", "eu-central-1")];
const STEPS: [&str; 9] = ["settings", "address", "health", "caller", "grant", "AWS", "token", "/v2/", "tools"];

/// A home with nothing in it that is not put there.
struct Place {
    directory: tempfile::TempDir,
}

/// What the doctor said.
#[derive(Debug)]
struct Told {
    ended: Ended,
}

/// A registry that answers as it is told to, and keeps the Authorization headers that it is shown.
struct Registry {
    url: String,
    shown: Arc<Mutex<Vec<String>>>,
}

impl Place {
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

    /// An address, and the configuration of a broker there.
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

    fn doctor(&self, address: &str, arguments: &[&str]) -> Told {
        told(self.command().args(["--address", address]).args(arguments))
    }
}

fn told(command: &mut Command) -> Told {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ended = Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) };
    assert_eq!(ended.stderr, "", "{}", ended.stdout);
    Told { ended }
}

impl Told {
    /// How each step ended, in order.
    fn states(&self) -> Vec<(&str, &str)> {
        let heads = self.ended.stdout.lines().filter(|line| !line.starts_with(' '));
        heads.map(|line| (line[6..16].trim(), line[..4].trim())).collect()
    }

    /// A step's line, with what stands below it.
    fn step(&self, step: &str) -> String {
        let lines = self.ended.stdout.lines();
        let mut from = lines.skip_while(|line| line.starts_with(' ') || line[6..16].trim() != step);
        let head = from.next().unwrap_or_else(|| panic!("no {step}: {}", self.ended.stdout));
        let below = from.take_while(|line| line.starts_with(' '));
        std::iter::once(head).chain(below).collect::<Vec<_>>().join("\n")
    }

    /// The first break is this step's, with these words; what comes after it was not asked.
    fn breaks_at(&self, step: &str, code: i32, words: &[&str]) -> &Self {
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
        let told = self.step(step);
        assert!(told.contains("      fix: "), "{told}");
        for word in words {
            assert!(told.contains(word), "{word:?} is not said: {told}");
        }
        self
    }

    fn never_says(&self, secret: &str) {
        for start in (0..secret.len()).step_by(16) {
            let part = &secret[start..(start + 16).min(secret.len())];
            assert!(part.len() < 16 || !self.ended.stdout.contains(part), "{part} of the password is said");
        }
    }
}

/// Each once, and the last for ever.
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
    /// Each answer once, and the last for ever.
    fn answering(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut answers, kept) = (Answers::of(answers), Arc::clone(&shown));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let answer = answers.next();
                kept.lock().unwrap().extend(serve(&mut stream.unwrap(), &answer));
            }
        });
        Self { url, shown }
    }

    fn over_tls(pair: &Pair, answer: &str) -> Self {
        let config = tls(pair, &[]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (answer, kept) = (answer.to_owned(), Arc::clone(&shown));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let header = serve(&mut StreamOwned::new(connection, stream.unwrap()), &answer);
                kept.lock().unwrap().extend(header);
            }
        });
        Self { url, shown }
    }

    /// As a proxy leads to it, whatever its name. Each answer once, and the last for ever.
    fn behind_a_proxy(pair: &Pair, answers: &[&str]) -> Self {
        let config = tls(pair, &[]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut answers, kept) = (Answers::of(answers), Arc::clone(&shown));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                // Nothing comes behind it before it is answered.
                let lines = BufReader::new(&mut stream).lines().map_while(Result::ok);
                let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
                assert!(head[0].starts_with("CONNECT "), "{head:?}");
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                let answer = answers.next();
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                kept.lock().unwrap().extend(serve(&mut StreamOwned::new(connection, stream), &answer));
            }
        });
        Self { url, shown }
    }

    fn shown(&self) -> Vec<String> {
        self.shown.lock().unwrap().clone()
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

/// A server of TLS that speaks HTTP/1.1 and nothing else, and says so where it is asked; its port.
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

/// The request's Authorization header; none where there is no request.
fn serve(stream: &mut (impl Read + Write), answer: &str) -> Option<String> {
    let lines = BufReader::new(&mut *stream).lines().map_while(Result::ok);
    let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let request = head.first()?;
    // A reader that has gone away is none the worse.
    _ = write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    _ = stream.flush();
    let header = head.iter().find_map(|line| line.strip_prefix("authorization: "));
    (request == "GET /v2/ HTTP/1.1").then(|| header.unwrap_or_default().to_owned())
}

fn password(broker: &str, registry: &str) -> String {
    run(&["get", "--address", broker, "-o", "password", registry], &[]).out().trim().to_owned()
}

#[test]
fn p10_where_all_is_well_every_step_says_so_and_the_password_is_shown_to_the_registry_alone() {
    let (place, broker) = (Place::new(), simulated_broker(&[], &[]));
    for (registry, scheme) in [(PRIVATE, "Basic"), (PUBLIC, "Bearer")] {
        place.write("docker/config.json", &format!(r#"{{"credHelpers":{{"{registry}":"ecr-broker"}}}}"#));
        let shop = Registry::answering(&["200 OK"]);
        let image = format!("https://{registry}/team/app:v1");
        let told = place.doctor(&broker.address, &[&image, "--registry-url", &shop.url]);
        assert_eq!(told.states(), STEPS.map(|step| (step, "ok")), "{}", told.ended.stdout);
        assert_eq!(told.ended.code, 0);
        assert!(told.step("/v2/").contains("takes the credential (200)"), "{}", told.ended.stdout);
        assert!(told.step("token").contains("good for another 11h 59m"), "{}", told.ended.stdout);
        let secret = password(&broker.address, registry);
        told.never_says(&secret);
        let encoded = BASE64.encode(format!("AWS:{secret}").as_bytes());
        told.never_says(&encoded);
        assert_eq!(shop.shown(), [format!("{scheme} {encoded}")]);
    }
}

#[test]
fn without_a_registry_it_ends_with_what_may_be_asked_for() {
    let (place, broker) = (Place::new(), simulated_broker(&[], &[]));
    let told = place.doctor(&broker.address, &[]);
    assert_eq!(told.ended.code, 0);
    let steps = ["settings", "address", "health", "caller", "registries"];
    assert_eq!(told.states(), steps.map(|step| (step, "ok")));
    assert!(told.step("registries").contains("public.ecr.aws (profile default)"), "{}", told.ended.stdout);
    let (address, _nobody) = place.broker("grants = []");
    let told = place.doctor(&address, &[]);
    assert!(told.ended.code == 4 && told.step("registries").contains("fix: name a registry"), "{told:?}");
}

#[test]
fn a_broker_that_is_not_there_is_told_by_how_it_is_not_there() {
    let place = Place::new();
    let missing = format!("unix:{}", place.path("no.sock").display());
    place.doctor(&missing, &[PRIVATE]).breaks_at("address", 5, &["there is no such socket", "fix: start the broker"]);
    // The socket outlives whoever made it.
    drop(UnixListener::bind(place.path("old.sock")).unwrap());
    let gone = format!("unix:{}", place.path("old.sock").display());
    place.doctor(&gone, &[PRIVATE]).breaks_at(
        "address",
        5,
        &["nobody listens", "fix: the broker that made the socket"],
    );
    let refused = place.doctor("http://127.0.0.1:1", &[PRIVATE]);
    refused.breaks_at("address", 5, &["nobody listens there", "ecr-broker serve --listen 127.0.0.1:1"]);
    let unknown = place.doctor("http://broker.invalid:50051", &[PRIVATE]);
    unknown.breaks_at("address", 5, &["cannot be resolved", "DNS"]);
    let file = format!("unix:{}", place.write("file", ""));
    place.doctor(&file, &[PRIVATE]).breaks_at("address", 5, &["it is no socket", "fix: correct the address"]);
    // One that takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    // It is waited for as long as other commands do.
    let told_of = told(place.command().env("ECR_BROKER_TIMEOUT", "500ms").args(["--address", &address, PRIVATE]));
    told_of.breaks_at("address", 5, &["it takes connections, and says nothing", "see its log"]);
    let web = Registry::answering(&["400 Bad Request"]);
    let told = place.command().args(["--address", &web.url, PRIVATE]).output().unwrap();
    assert!(String::from_utf8(told.stdout).unwrap().contains("does not speak gRPC"));
    let neither = place.doctor(&format!("{missing},http://127.0.0.1:1"), &[PRIVATE]);
    neither.breaks_at("address", 5, &[&format!("fix: {missing}: start the broker"), "fix: http://127.0.0.1:1: start"]);
    // The next address is asked, and the one that was passed over is told.
    let broker = simulated_broker(&[], &[]);
    let told = place.doctor(&format!("{missing},{}", broker.address), &[]);
    assert!(told.ended.code == 0 && told.step("address").contains("there is no such socket"), "{told:?}");
}

/// Root may open everything, so that for root it is another user that may not.
#[test]
fn a_socket_that_is_closed_to_the_user_is_told_with_the_group_that_opens_it() {
    const DAEMON: u32 = 1;
    const BIN: u32 = 2;
    const NOBODY_KNOWN: u32 = 12345;
    let place = Place::new();
    let (address, _broker) = place.broker("");
    let socket = place.path("broker.sock");
    let reachable = place.path("ecr-broker");
    fs::hard_link(PROGRAM, &reachable).or_else(|_| fs::copy(PROGRAM, &reachable).map(drop)).unwrap();
    let doctor = |user: Option<u32>, address: &str, words: &[&str]| {
        let mut command = Command::new(&reachable);
        command.env_clear().args(["doctor", PRIVATE, "--address", address]).stdin(Stdio::null());
        if let Some(user) = user {
            command.uid(user).gid(NOBODY_KNOWN);
        }
        let told = told(&mut command);
        told.breaks_at("address", 5, &[&["permission denied", "(owner ", "in groups "], words].concat());
    };
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o000)).unwrap();
        return doctor(None, &address, &["broker.sock (owner ", "chgrp"]);
    }
    let of_group = |group: u32| std::os::unix::fs::chown(&socket, Some(0), Some(group)).unwrap();
    of_group(BIN);
    doctor(Some(DAEMON), &address, &["broker.sock (owner ", "fix: sudo usermod -aG bin daemon, and log in again"]);
    doctor(Some(NOBODY_KNOWN), &address, &["--group-add 2", "supplementalGroups: [2]"]);
    of_group(0);
    doctor(Some(DAEMON), &address, &["a group of its own", "whoever is in root may do far more"]);
    // The way leads over a link into a directory that is closed.
    let hidden = place.path("hidden");
    fs::create_dir_all(hidden.join("run")).unwrap();
    fs::rename(&socket, hidden.join("run/broker.sock")).unwrap();
    std::os::unix::fs::symlink("hidden/run", place.path("run")).unwrap();
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o710)).unwrap();
    std::os::unix::fs::chown(&hidden, Some(0), Some(BIN)).unwrap();
    let by = format!("permission denied by {} (owner root, group bin, mode 0710)", hidden.display());
    let through = format!("unix:{}", place.path("run/broker.sock").display());
    doctor(Some(DAEMON), &through, &[&by, "usermod -aG bin daemon"]);
}

#[test]
fn tls_that_does_not_come_about_is_told_in_words() {
    let place = Place::new();
    let directory = place.directory.path();
    let (ours, theirs) = (Authority::new(directory, "ours.pem", "ours"), Authority::new(directory, "theirs.pem", "b"));
    let serve = |pair: &Pair, name: &str| {
        let (certificate, key) = pair.write(directory, name);
        let tls = format!(
            "server.tls = {{ certificate = {certificate:?}, key = {key:?} }}\n\
             authentication.client_ca = {{ \"a.example\" = {:?} }}\ngrants = []\n",
            ours.file
        );
        let config = place.write(&format!("{name}.toml"), &tls);
        // Not simulated: that would let in the whole of loopback.
        let broker = Server::start(&["serve", "--config", &config, "--listen", "127.0.0.1:0"], &KEYS);
        let port = broker.address.rsplit(':').next().unwrap().to_owned();
        (broker, port)
    };
    let (_broker, port) = serve(&ours.server(), "good");
    let (own, https) = (ours.file.to_str().unwrap(), format!("https://localhost:{port}"));
    let unknown = place.doctor(&https, &[PRIVATE, "--tls-ca", theirs.file.to_str().unwrap()]);
    unknown.breaks_at("address", 5, &["no authority that is trusted", "--tls-ca"]);
    let other = place.doctor(&format!("https://127.0.0.1:{port}"), &[PRIVATE, "--tls-ca", own]);
    other.breaks_at("address", 5, &["for another name"]);
    let clear = place.doctor(&format!("http://localhost:{port}"), &[PRIVATE]);
    clear.breaks_at("address", 5, &["it speaks TLS", &format!("write the address as https://localhost:{port}")]);
    let nobody = place.doctor(&https, &[PRIVATE, "--tls-ca", own]);
    nobody.breaks_at("caller", 4, &["CALLER_UNAUTHENTICATED", "fix: say who you are: --token-file"]);
    let expired = serve(&ours.server_until(2001), "old");
    let told = place.doctor(&format!("https://localhost:{}", expired.1), &[PRIVATE, "--tls-ca", own]);
    told.breaks_at("address", 5, &["has expired, by this machine's clock", "server.tls.certificate"]);
    let (stranger, key) = theirs.workload(certificates::RUNNER).write(directory, "stranger");
    let identity = ["--tls-cert", stranger.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let refused = place.doctor(&https, &[&[PRIVATE, "--tls-ca", own], &identity[..]].concat());
    // When a client learns of it is a matter of the moment.
    let step = refused.step(if refused.states()[1].1 == "FAIL" { "address" } else { "health" });
    assert!(refused.ended.code == 5 && step.contains("authentication.client_ca"), "{refused:?}");

    // Whether it says which protocols it speaks, or does not know that there are others.
    let silent = Registry::over_tls(&ours.server(), "200 OK").url;
    for web in [format!("https://localhost:{}", web_server(&ours.server())), silent] {
        let told = place.doctor(&web, &[PRIVATE, "--tls-ca", own]);
        told.breaks_at("address", 5, &["no HTTP/2", "fix: correct the address: it is the broker's server.listen"]);
        assert!(!told.step("address").contains("client_ca"), "{told:?}");
    }

    let plain = simulated_broker(&[], &[]);
    let told = place.doctor(&plain.address.replace("grpc://", "https://"), &[PRIVATE]);
    told.breaks_at("address", 5, &["it does not speak TLS", "write the address as http://127.0.0.1:"]);
}

#[test]
fn files_that_cannot_be_used_end_it_before_anybody_is_asked() {
    let (place, broker) = (Place::new(), simulated_broker(&[], &[]));
    let doctor = |arguments: &[&str]| place.doctor(&broker.address, &[&[PRIVATE], arguments].concat());
    let token = |exp: u64| {
        let claims = BASE64URL_NOPAD.encode(format!(r#"{{"sub":"s3cret","exp":{exp}}}"#).as_bytes());
        place.write("token", &format!("e30.{claims}.c2lnbmF0dXJl"))
    };
    let expired = doctor(&["--token-file", &token(1_000_000_000)]);
    expired.breaks_at("settings", 4, &["(--token-file): its token expired at 2001-09-09", "write a new token"]);
    assert!(!expired.ended.stdout.contains("s3cret") && !expired.ended.stdout.contains("c2lnbmF0dXJl"));
    let missing = doctor(&["--token-file", "/no/token"]);
    missing.breaks_at("settings", 1, &["token_file /no/token", "cannot be read", "fix: put it there"]);
    let no_authority = doctor(&["--tls-ca", &place.write("ca.pem", "nothing")]);
    no_authority.breaks_at("settings", 1, &["holds no certificates in PEM form"]);
    let authority = Authority::new(place.directory.path(), "authority.pem", "a");
    let (old, key) = authority.server_until(2001).write(place.directory.path(), "old");
    let old = ["--tls-cert", old.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    doctor(&old).breaks_at("settings", 4, &["expired at 2001-01-01", "get a new certificate"]);
    let (good, _) = authority.server().write(place.directory.path(), "good");
    let no_key = place.write("no.key", "nothing");
    let mut command = place.command();
    command.env("ECR_BROKER_TLS_KEY", &no_key).args(["--address", &broker.address, PRIVATE, "--tls-cert"]).arg(good);
    told(&mut command).breaks_at("settings", 1, &[&format!("tls_key {no_key} (ECR_BROKER_TLS_KEY): holds no private")]);
    // A token that the broker has no use for is the broker's to refuse.
    let no_issuer = doctor(&["--token-file", &token(32_503_680_000)]);
    no_issuer.breaks_at("caller", 4, &["takes no bearer tokens", "leave token_file out"]);
    assert!(no_issuer.step("settings").contains("a token until 3000-01-01"), "{no_issuer:?}");
}

#[test]
fn each_setting_is_told_with_where_it_comes_from() {
    let (place, broker) = (Place::new(), simulated_broker(&[], &[]));
    let client =
        place.write(".config/ecr-broker/client.toml", &format!("address = {:?}\ntimeout = \"7s\"\n", broker.address));
    let told_of = told(place.command().env("ECR_BROKER_PROFILE", "pull").arg(PRIVATE));
    told_of.breaks_at("grant", 1, &["PROFILE_UNKNOWN", "\"pull\" comes from ECR_BROKER_PROFILE"]);
    let settings = told_of.step("settings");
    for said in [format!("({client})"), "profile pull (ECR_BROKER_PROFILE)".into(), format!("timeout 7s ({client})")] {
        assert!(settings.contains(&said), "{said}: {settings}");
    }
    place.write(".config/ecr-broker/client.toml", "adress = 1\n");
    told(place.command().arg(PRIVATE)).breaks_at("settings", 1, &["adress", &format!("fix: correct {client}")]);
}

/// Whatever it prints is enough.
#[test]
fn the_grant_that_is_missing_is_printed_and_lets_the_caller_have_it() {
    let place = Place::new();
    let others = "[[grants]]\nid = \"others\"\ncallers = [{ uid = 4242 }]\nregistries = [{ public = true }]";
    let shop = Registry::answering(&["200 OK"]);
    for registry in [PRIVATE, PUBLIC] {
        let at_shop = [registry, "--registry-url", &shop.url];
        let (address, broker) = place.broker(others);
        let told = place.doctor(&address, &at_shop);
        told.breaks_at("grant", 4, &["CALLER_NOT_ALLOWED", "[[grants]]", "effect = \"deny\""]);
        assert!(told.step("caller").contains("none is about this caller"), "{told:?}");
        let step = told.step("grant");
        let block = step.lines().filter(|line| line.starts_with("           ")).collect::<Vec<_>>().join("\n");
        let explain = step.split("which grant decides: ").nth(1).unwrap().lines().next().unwrap();
        broker.stop();

        let (address, broker) = place.broker(&format!("{others}\n{block}"));
        let told = place.doctor(&address, &at_shop);
        assert_eq!(told.ended.code, 0, "{}\n{block}", told.ended.stdout);
        // The operator's question, as it was printed.
        let config = place.path("broker.toml");
        let explain = explain.replace("FILE", config.to_str().unwrap());
        let explain: Vec<_> = explain.split(' ').skip(1).collect();
        assert!(run(&explain, &[]).out().contains("allowed by grant \"uid-"), "{explain:?}");
        broker.stop();
    }
    let config = place.write("loopback.toml", "grants = []\n");
    let broker = Server::start(&["serve", "--simulate", "--config", &config, "--listen", "127.0.0.1:0"], &[]);
    let told = place.doctor(&broker.address, &[PRIVATE, "--profile", "pull"]);
    told.breaks_at(
        "grant",
        4,
        &[
            "fix: ask for another profile, or for none: \"pull\" comes from --profile\n      fix: or, if the broker has a profile",
            "callers = [{ loopback = true }]",
            "profile = \"pull\"",
        ],
    );
}

#[test]
fn all_the_grants_that_are_printed_go_into_one_file() {
    let place = Place::new();
    let others = "[[profiles]]\nname = \"pull\"\nrole_chain = [\"arn:aws:iam::123456789012:role/x\"]\n[[grants]]\nid = \"others\"\ncallers = [{ uid = 4242 }]\nregistries = [{ public = true }]";
    let (address, _broker) = place.broker(others);
    let (near, far) = ("210987654321.dkr.ecr.eu-central-1.amazonaws.com", PRIVATE.replace("eu-central-1", "us-east-1"));
    let mut blocks = Vec::new();
    for arguments in [&[PRIVATE][..], &[PRIVATE, "--profile", "pull"], &[&far], &[near], &[PUBLIC]] {
        let step = place.doctor(&address, arguments).step("grant");
        blocks.extend(step.lines().filter(|line| line.starts_with("           ")).map(str::to_owned));
    }
    let config = place.write("all.toml", &format!("{others}\n{}\n", blocks.join("\n")));
    assert_eq!(blocks.iter().filter(|line| line.contains("[[grants]]")).count(), 5);
    let checked = run(&["config", "check", "--config", &config], &[]);
    assert!(checked.code == 0 && checked.stdout.contains("is valid"), "{checked:?}");
}

#[test]
fn of_a_registry_behind_a_name_of_the_broker_s_own_no_more_is_said_than_is_known() {
    const ALIAS: &str = "registry.corp.example";
    let place = Place::new();
    let config = place.write("aliases.toml", &format!("[aliases]\n\"{ALIAS}\" = \"{PRIVATE}\"\n"));
    let broker = |fault: &str| simulated_broker(&["--config", &config, "--simulate-fault", fault], &[]);
    place.write("docker/config.json", &format!(r#"{{"credHelpers":{{"{ALIAS}":"ecr-broker"}}}}"#));
    for (fault, code, words) in [
        ("server-error=1", 5, ["AWS_UNAVAILABLE", "[aliases]"]),
        ("denied=1", 4, ["ecr:GetAuthorizationToken", "ecr-public:GetAuthorizationToken"]),
    ] {
        let told = place.doctor(&broker(fault).address, &[ALIAS]);
        told.breaks_at("AWS", code, &words);
        assert!(!told.ended.stdout.contains("amazonaws.com"), "{told:?}");
        assert!(told.step("tools").starts_with("ok "), "{told:?}");
    }
    place.write("docker/config.json", "{}");
    let told = place.doctor(&broker("denied=1").address, &[ALIAS]);
    assert!(told.step("tools").contains(&format!("[aliases]: ecr-broker configure docker {ALIAS}")), "{told:?}");
    let (address, _broker) = place.broker(&format!("grants = []\naliases = {{ \"{ALIAS}\" = \"{PRIVATE}\" }}"));
    let told = place.doctor(&address, &[ALIAS]);
    told.breaks_at("grant", 4, &["the registry that its [aliases] have behind this name", "which grant decides"]);
}

#[test]
fn what_is_no_registry_of_ecr_s_ends_as_it_does_elsewhere() {
    let (place, broker) = (Place::new(), simulated_broker(&[], &[]));
    for (registry, reason) in
        [("ghcr.io", "REGISTRY_NOT_ECR"), ("12345.dkr.ecr.eu-central-1.amazonaws.com", "REGISTRY_INVALID")]
    {
        place.doctor(&broker.address, &[registry]).breaks_at("grant", 3, &[reason, "name the registry as AWS does"]);
    }
}

#[test]
fn what_aws_does_is_told_with_what_to_do_about_it() {
    let place = Place::new();
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
        let told = place.doctor(&broker.address, &[registry]);
        told.breaks_at("AWS", code, &words).breaks_at("AWS", code, &["the broker's log has more under request "]);
    }
    let broker = simulated_broker(&["--simulate-fault", "hang=1"], &[]);
    let told = place.doctor(&broker.address, &[PRIVATE, "--timeout", "2s"]);
    told.breaks_at("AWS", 5, &["fix: try again, for the fetch goes on in the broker"]);
}

#[test]
fn a_broker_without_aws_credentials_still_says_who_asks() {
    let place = Place::new();
    let nothing = [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_REGION", "eu-central-1"), ("HOME", "/nowhere")];
    let broker = Server::start(&["serve", "--allow-loopback", "--listen", "127.0.0.1:0"], &nothing);
    let told = place.doctor(&broker.address, &[PRIVATE]);
    assert_eq!(told.ended.code, 5, "{}", told.ended.stdout);
    assert!(told.step("health").contains("fix: have those who run the broker give it AWS credentials"), "{told:?}");
    assert_eq!(&told.states()[2..5], [("health", "FAIL"), ("caller", "ok"), ("grant", "skip")]);
}

#[test]
fn a_credential_that_is_old_because_aws_is_away_is_told_with_its_end() {
    let place = Place::new();
    let aws = Server::start(&["simulate-aws", "--listen", "127.0.0.1:0"], &[]);
    let config = place.write(
        "broker.toml",
        "[cache]\nrefresh_after = \"1s\"\n[aws]\nattempt_timeout = \"1s\"\noperation_timeout = \"1s\"\n",
    );
    let environment = [&KEYS[..], &[("AWS_ENDPOINT_URL", aws.address.as_str())]].concat();
    let serve = ["serve", "--allow-loopback", "--config", &config, "--listen", "127.0.0.1:0"];
    let broker = Server::start(&serve, &environment);
    let shop = Registry::answering(&["200 OK"]);
    let doctor = || place.doctor(&broker.address, &[PRIVATE, "--registry-url", &shop.url]);
    assert_eq!(doctor().ended.code, 0);
    drop(aws);
    // It is refreshed by the read after a second, and what that comes to is told to the one after it.
    let told = loop {
        let told = doctor();
        assert_eq!(told.ended.code, 0, "it is good: {told:?}");
        if told.ended.stdout.contains("(STALE)") {
            break told;
        }
    };
    let step = told.step("AWS");
    assert!(step.contains("nothing fails until 20") && step.contains("fix: have those who run the broker"), "{step}");
}

#[test]
fn a_registry_that_refuses_the_credential_is_shown_another_one() {
    let place = Place::new();
    let authority = Authority::new(place.directory.path(), "authority.pem", "a");
    let mut params = certificates::leaf(&[certificates::dns(PRIVATE)]);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let pair = authority.sign(&params);
    let doctor = |broker: &Server, shop: &Registry| {
        let mut command = place.command();
        command.env("SSL_CERT_FILE", &authority.file).env("HTTPS_PROXY", &shop.url);
        told(command.args(["--address", &broker.address, PRIVATE]))
    };
    let broker = simulated_broker(&[], &[]);
    let shop = Registry::behind_a_proxy(&pair, &["401 Unauthorized", "200 OK"]);
    let told = doctor(&broker, &shop);
    assert_eq!(told.ended.code, 0, "{}", told.ended.stdout);
    assert!(told.step("/v2/").contains("it refused ") && told.step("/v2/").contains("instead"), "{told:?}");
    let [first, second]: [String; 2] = shop.shown().try_into().unwrap();
    assert_ne!(first, second);

    for (status, words) in [("401 Unauthorized", "SCPs"), ("403 Forbidden", "the policy of the VPC endpoint")] {
        let broker = simulated_broker(&[], &[]);
        let closed = Registry::behind_a_proxy(&pair, &[status]);
        let told = doctor(&broker, &closed);
        told.breaks_at("/v2/", 4, &["refuses the credential", "it is refused too", words]);
        told.never_says(&password(&broker.address, PRIVATE));
        // It was told less than a minute ago.
        let told = doctor(&broker, &closed);
        told.breaks_at("/v2/", 4, &["refuses the credential"]);
        told.never_says(&password(&broker.address, PRIVATE));
    }
}

#[test]
fn what_another_host_refuses_costs_nobody_a_credential() {
    let (place, broker) = (Place::new(), simulated_broker(&[], &[]));
    let before = password(&broker.address, PRIVATE);
    let other = Registry::answering(&["401 Unauthorized"]);
    let told = place.doctor(&broker.address, &[PRIVATE, "--registry-url", &other.url]);
    let words = ["refuses the credential", &format!("the broker was not told, for this is not https://{PRIVATE}")];
    told.breaks_at("/v2/", 4, &words);
    told.never_says(&before);
    assert_eq!((other.shown().len(), password(&broker.address, PRIVATE)), (1, before));
    let below = run(&["doctor", PRIVATE, "--registry-url", "https://registry.example/proxy"], &[]);
    assert!(below.code == 2 && below.stderr.contains("more than a host and a port"), "{below:?}");
}

#[test]
fn p10_a_credential_is_sent_to_nobody_else_than_the_registry() {
    let (place, broker) = (Place::new(), simulated_broker(&[], &[]));
    let other = Registry::answering(&["200 OK"]);
    let shop = Registry::answering(&[&format!("307 Temporary Redirect\r\nlocation: {}/v2/", other.url)]);
    let told = place.doctor(&broker.address, &[PRIVATE, "--registry-url", &shop.url]);
    told.breaks_at("/v2/", 1, &["leads to 127.0.0.1", "was not sent on", "in the registry's place"]);
    assert_eq!((shop.shown().len(), other.shown().len()), (1, 0));
    let clear = run(&["doctor", PRIVATE, "--registry-url", "http://registry.example"], &[]);
    assert!(clear.code == 2 && clear.stderr.contains("a credential is sent there"), "{clear:?}");
}

#[test]
fn a_registry_that_cannot_be_reached_is_told_by_how_it_cannot() {
    let (place, broker) = (Place::new(), simulated_broker(&[], &[]));
    let doctor =
        |url: &str, more: &[&str]| place.doctor(&broker.address, &[&[PRIVATE, "--registry-url", url], more].concat());
    doctor("http://127.0.0.1:1", &[]).breaks_at("/v2/", 5, &["Connection refused", "HTTPS_PROXY"]);
    doctor("https://registry.invalid", &[]).breaks_at("/v2/", 5, &["dns error", "VPC endpoint"]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    doctor(&format!("http://{address}"), &["--timeout", "2s"]).breaks_at("/v2/", 5, &["no answer", "security groups"]);
    let plain = Registry::answering(&["503 Service Unavailable"]);
    doctor(&plain.url, &[]).breaks_at("/v2/", 5, &["answers 503", "try again"]);
    let spoken = doctor(&plain.url.replace("http://", "https://"), &[]);
    spoken.breaks_at("/v2/", 5, &["it does not speak TLS", "another program on that port"]);

    let authority = Authority::new(place.directory.path(), "authority.pem", "a");
    let shop = Registry::over_tls(&authority.server(), "200 OK");
    doctor(&shop.url, &[]).breaks_at("/v2/", 5, &["no authority that is trusted", "SSL_CERT_FILE"]);
    assert!(shop.shown().is_empty());
    let mut trusting = place.command();
    trusting.env("SSL_CERT_FILE", &authority.file);
    let told = told(trusting.args(["--address", &broker.address, PRIVATE, "--registry-url", &shop.url]));
    assert!(told.ended.code == 0 && shop.shown().len() == 1, "{told:?}");
}

#[test]
fn docker_s_and_podman_s_files_are_looked_at_whatever_else_is_broken() {
    let place = Place::new();
    let tools = |more: &dyn Fn(&mut Command)| {
        let mut command = place.command();
        command.args(["--address", "http://127.0.0.1:1", PRIVATE]);
        more(&mut command);
        let told = told(&mut command);
        assert_eq!(told.ended.code, 5, "the first break decides");
        told.step("tools")
    };
    assert!(tools(&|_| ()).starts_with("skip  tools       neither docker nor podman"));
    place.write("docker/config.json", r#"{"credHelpers":{"other.example":"ecr-broker"}}"#);
    let unnamed = tools(&|_| ());
    assert!(unnamed.starts_with("skip") && unnamed.contains(&format!("fix: ecr-broker configure docker {PRIVATE}")));
    let configured =
        program(&[]).args(["configure", "docker", PRIVATE]).env("DOCKER_CONFIG", place.path("docker")).output();
    assert!(configured.unwrap().status.success());
    assert!(tools(&|_| ()).starts_with("ok    tools"));
    let lost = tools(&|command| _ = command.env("PATH", "/nowhere"));
    assert!(lost.starts_with("FAIL") && lost.contains("is not in the PATH") && lost.contains("fix: put"), "{lost}");
    place.write("docker/config.json", r#"{"credsStore":"ecr-broker"}"#);
    assert!(tools(&|_| ()).starts_with("ok    tools"));
    let podman = place.write("auth.json", "{}");
    let both = tools(&|command| _ = command.env("REGISTRY_AUTH_FILE", &podman));
    assert!(both.contains(&format!("ecr-broker configure podman {PRIVATE}")), "{both}");
    // podman has a file that stays, and one that goes with the login.
    place.write("run/containers/auth.json", "{}");
    place.write(".config/containers/auth.json", &format!(r#"{{"credHelpers":{{"{PRIVATE}":"ecr-broker"}}}}"#));
    let runtime = |command: &mut Command| _ = command.env("XDG_RUNTIME_DIR", place.path("run"));
    let two = tools(&runtime);
    assert!(two.contains("run/containers/auth.json does not name it") && !two.contains("fix:"), "{two}");
    place.write(".config/containers/auth.json", "{}");
    let two = tools(&runtime);
    assert!(two.contains(&format!("fix: ecr-broker configure podman {PRIVATE}")), "{two}");
    fs::remove_dir_all(place.path(".config/containers")).unwrap();
    place.write("docker/config.json", "\"eyJsecret\"");
    let broken = tools(&|_| ());
    assert!(broken.contains("it is no JSON object") && !broken.contains("eyJsecret"), "{broken}");
}

#[test]
fn under_amazon_s_name_it_counts_whose_program_that_is() {
    let place = Place::new();
    place.write("docker/config.json", &format!(r#"{{"credHelpers":{{"{PRIVATE}":"ecr-login"}}}}"#));
    let program = place.path("bin/docker-credential-ecr-login");
    fs::create_dir(place.path("bin")).unwrap();
    let tools = || {
        let mut command = place.command();
        command.env("PATH", place.path("bin")).args(["--address", "http://127.0.0.1:1", PRIVATE]);
        told(&mut command).step("tools")
    };
    let missing = tools();
    assert!(
        missing.starts_with("FAIL") && missing.contains("docker-credential-ecr-login is not in the PATH"),
        "{missing}"
    );
    for ours in [HELPER, PROGRAM] {
        std::os::unix::fs::symlink(ours, &program).unwrap();
        let linked = tools();
        assert!(linked.starts_with("ok ") && linked.contains("as docker-credential-ecr-login"), "{linked}");
        fs::remove_file(&program).unwrap();
    }
    place.write("bin/docker-credential-ecr-login", "#!/bin/sh\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let amazon_s = tools();
    assert!(amazon_s.starts_with("skip") && amazon_s.contains("is not the broker's helper"), "{amazon_s}");
    assert!(amazon_s.contains(&format!("fix: ecr-broker configure docker {PRIVATE}")), "{amazon_s}");
}
