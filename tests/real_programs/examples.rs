//! The clients of `examples/`, compiled with the stubs of a release, and the brokers that they share.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::time::Instant;

use super::PRIVATE;
use super::other::{Foreign, python, run, script, succeed, text, tools};
use super::program::{PROGRAM, SERVE_SIMULATED, Server};
use super::scraped::Scraped;

const METHOD: &str = "ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials";
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 23, 0, 11), Ipv4Addr::new(127, 23, 0, 12)];
/// The deadline of a call that gets no answer. The broker itself gives AWS 8 s.
const DEADLINE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Language {
    Go,
    Java,
    Node,
    Python,
    Rust,
}

const ALL: [Language; 5] = [Language::Go, Language::Java, Language::Node, Language::Python, Language::Rust];

/// The compiled clients.
struct Clients {
    directory: tempfile::TempDir,
}

impl Clients {
    fn build() -> Self {
        let directory = tempfile::tempdir().unwrap();
        succeed(Command::new(script("examples.sh")).env("TOOLS", tools()).arg(directory.path()));
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A client with this target and deadline for each call.
    fn command(&self, language: Language, target: &str, deadline: Duration) -> Command {
        let mut command = match language {
            Language::Go => Command::new(self.path("go/client")),
            Language::Java => self.java(),
            Language::Node => {
                let mut node = Command::new("node");
                // Otherwise it asks the system's name server, whatever the target says.
                node.env("GRPC_NODE_USE_ALTERNATIVE_RESOLVER", "true").arg(self.path("node/client.js"));
                node
            }
            Language::Python => {
                let mut python = python();
                python.arg(self.path("python/client.py"));
                python
            }
            Language::Rust => rust(),
        };
        command.arg(target).arg(deadline.as_secs().to_string());
        command
    }

    /// Java asks the system's resolver, or this file.
    fn java(&self) -> Command {
        let hosts = ADDRESSES.map(|address| format!("{address} broker.example\n"));
        std::fs::write(self.path("hosts"), hosts.concat()).unwrap();
        let libraries = std::fs::read_to_string(self.path("java/classpath")).unwrap();
        let mut java = Command::new("java");
        java.arg(format!("-Djdk.net.hosts.file={}", self.path("hosts").display()));
        java.arg("-cp").arg(format!("{}:{libraries}", self.path("java/classes").display())).arg("Client");
        java
    }
}

/// `cargo test` builds it, as every example.
fn rust() -> Command {
    let example = Path::new(PROGRAM).with_file_name("examples").join("client");
    assert!(example.exists(), "{} is missing; build it with: cargo build --example client", example.display());
    Command::new(example)
}

/// Two brokers with the same port. An AWS call takes so long that a client has connected to both before its third call.
struct Brokers {
    port: u16,
    running: [(Server, Scrape); 2],
    dns: Foreign,
}

/// The address of an ops listener.
struct Scrape(String);

impl Scrape {
    /// Returns the number of calls that ended with a status.
    fn calls(&self, status: &str) -> f64 {
        let labels = [("rpc_method", METHOD), ("rpc_response_status_code", status)];
        Scraped::from(&self.0).value("rpc_server_call_duration_seconds_count", &labels)
    }
}

impl Brokers {
    fn start() -> Self {
        let port = free_port();
        let running = ADDRESSES.map(|address| {
            let listen = format!("{address}:{port}");
            let arguments = ["serve", "--simulate", "--simulate-latency", "200ms", "--listen", &listen];
            let (server, ops) = Server::start_with_ops(&arguments, &[]);
            (server, Scrape(ops))
        });
        let addresses = ADDRESSES.map(|address| address.to_string());
        let mut dns = python();
        dns.args([&script("dns.py"), "--port", "0", "0"]).args(addresses);
        Self { port, running, dns: Foreign::start(&mut dns, "127.0.0.53:") }
    }

    /// The target of both brokers. Java's gRPC takes no name server in it.
    fn target(&self, language: Language) -> String {
        let port = self.port;
        match language {
            Language::Java => format!("dns:///broker.example:{port}"),
            Language::Rust => ADDRESSES.map(|address| format!("http://{address}:{port}")).join(","),
            _ => format!("dns://127.0.0.53:{}/broker.example:{port}", self.dns.port),
        }
    }

    fn answered(&self) -> [f64; 2] {
        self.running.each_ref().map(|(_, scrape)| scrape.calls("OK"))
    }
}

/// Returns a port that is free at both addresses.
fn free_port() -> u16 {
    loop {
        let first = TcpListener::bind((ADDRESSES[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if TcpListener::bind((ADDRESSES[1], port)).is_ok() {
            return port;
        }
    }
}

fn assert_got(language: Language, stdout: &str, registries: &[String]) {
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!(lines.len(), registries.len(), "{language:?}: {stdout}");
    for (line, registry) in lines.iter().zip(registries) {
        assert!(line.starts_with(&format!("{registry} AWS until 20")), "{language:?}: {line}");
    }
}

fn calls_over_a_socket(clients: &Clients, language: Language, socket: &str) {
    let registries = [PRIVATE.to_owned(), "public.ecr.aws".to_owned()];
    let stdout = succeed(clients.command(language, socket, Duration::from_secs(30)).args(&registries));
    assert_got(language, &stdout, &registries);
}

/// The caller may make 10 requests per second, with a burst of 100: the last calls are rejected, once each if the client waits.
fn waits_as_long_as_the_broker_asks_for(clients: &Clients, language: Language) {
    let limit = [("ECR_BROKER_LIMITS_LOCAL_REQUESTS_PER_SECOND", "10")];
    let (server, ops) = Server::start_with_ops(&SERVE_SIMULATED, &limit);
    let target = server.address.trim_start_matches("grpc://");
    let registries = vec![PRIVATE.to_owned(); 130];
    let stdout = succeed(clients.command(language, target, Duration::from_secs(30)).args(&registries));
    assert_got(language, &stdout, &registries);
    let rejected = Scrape(ops).calls("RESOURCE_EXHAUSTED");
    assert!((1.0..=30.0).contains(&rejected), "{language:?}: {rejected} calls were rejected");
}

fn ends_at_the_deadline(clients: &Clients, language: Language) {
    let server = Server::start(&[&SERVE_SIMULATED[..], &["--simulate-fault", "hang=1"]].concat(), &[]);
    let start = Instant::now();
    let target = server.address.trim_start_matches("grpc://");
    let output = run(clients.command(language, target, DEADLINE).arg(PRIVATE));
    let (took, stderr) = (start.elapsed(), text(&output.stderr).to_lowercase());
    assert!(!output.status.success() && output.stdout.is_empty(), "{language:?}: {}", output.status);
    assert!(stderr.contains("deadline") || stderr.contains("within the timeout"), "{language:?}: {stderr}");
    assert!(took >= DEADLINE && took < DEADLINE * 4, "{language:?}: {took:?}");
}

fn spreads_calls_over_both_brokers(clients: &Clients, brokers: &Brokers, language: Language) {
    let number = |call: usize| 100_000_000_000 + (language as usize) * 100 + call;
    let registries: Vec<_> =
        (0..10).map(|call| format!("{}.dkr.ecr.eu-central-1.amazonaws.com", number(call))).collect();
    let before = brokers.answered();
    let target = brokers.target(language);
    let stdout = succeed(clients.command(language, &target, Duration::from_secs(30)).args(&registries));
    assert_got(language, &stdout, &registries);
    let after = brokers.answered();
    let calls = [0, 1].map(|number| after[number] - before[number]);
    println!("{language:?}: calls of each broker: {calls:?}");
    assert!(calls.iter().all(|calls| *calls >= 3.0), "{language:?}: {calls:?}");
}

/// Makes the archives of stubs in a directory, and returns their names and contents.
fn stubs(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/release/stubs");
    let listed = succeed(Command::new(program).env("TOOLS", tools()).arg("--output").arg(directory));
    let name = |file: &Path| file.file_name().unwrap().to_string_lossy().into_owned();
    listed.lines().map(Path::new).map(|file| (name(file), std::fs::read(file).unwrap())).collect()
}

#[test]
#[ignore = "needs Buf, protoc and their plugins, which .ci/tools installs"]
fn stubs_of_a_release_are_equal_and_name_no_path_of_the_machine() {
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [first, second] = directories.each_ref().map(|directory| stubs(directory.path()));
    assert_eq!(first.len(), 4);
    for (one, other) in first.iter().zip(&second) {
        assert!(one == other, "{} differs", one.0);
    }
    let mut unpacked = String::new();
    for (name, _) in &first {
        let archive = directories[0].path().join(name);
        unpacked += &succeed(Command::new("tar").args(["--extract", "--to-stdout", "--file"]).arg(archive));
    }
    assert!(unpacked.contains("GetRegistryCredentials"));
    for path in [env!("CARGO_MANIFEST_DIR"), "/tmp/", &tools().display().to_string()] {
        assert!(!unpacked.contains(path), "{path}");
    }
}

#[test]
#[ignore = "needs Go, Java, Node and Python with the packages of .ci/tools"]
fn examples_keep_deadlines_and_delays_and_use_every_broker() {
    let clients = Clients::build();
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("broker.sock").display());
    let _server = Server::start(&["serve", "--simulate", "--listen", &socket], &[]);
    std::thread::scope(|scope| {
        for language in ALL {
            let (clients, socket) = (&clients, &socket);
            scope.spawn(move || {
                calls_over_a_socket(clients, language, socket);
                waits_as_long_as_the_broker_asks_for(clients, language);
                ends_at_the_deadline(clients, language);
            });
        }
    });
    // One after the other, so that each has its own numbers.
    let brokers = Brokers::start();
    for language in ALL {
        spreads_calls_over_both_brokers(&clients, &brokers, language);
    }
}
