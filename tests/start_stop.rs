//! What the broker says at its start, at a reload and at its end.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;
mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use program::{Following, PROGRAM, SERVE_SIMULATED, Server, program, run, signal, skipped};
use serde_json::{Value, json};
use support::*;

const GRANTS: &str = "[[grants]]\nid = \"a\"\ncallers = [{ loopback = true }]\nregistries = [{ public = true }]\n";

/// Returns the log lines with a message.
fn lines(log: &str, message: &str) -> Vec<Value> {
    let parsed = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}")));
    parsed.filter(|line| line["message"] == message).collect()
}

/// Returns the one log line with a message.
fn line(log: &str, message: &str) -> Value {
    let lines: [Value; 1] = lines(log, message).try_into().unwrap_or_else(|_| panic!("{message}: {log}"));
    let [line] = lines;
    line
}

fn write(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, path).unwrap();
}

#[test]
fn start_line_tells_the_configuration_and_the_listeners() {
    let directory = tempfile::tempdir().unwrap();
    let (main, included) = (directory.path().join("broker.toml"), directory.path().join("grants.d"));
    fs::create_dir(&included).unwrap();
    fs::write(included.join("a.toml"), GRANTS).unwrap();
    let profile = "[[profiles]]\nname = \"ci\"\nrole_chain = [\"arn:aws:iam::123456789012:role/ci\"]\n";
    fs::write(&main, format!("include = [\"grants.d/*.toml\"]\n{profile}[aws]\nregion = \"eu-west-1\"\n")).unwrap();
    let arguments = [&SERVE_SIMULATED[..], &["--config", main.to_str().unwrap()]].concat();
    let (server, ops) = Server::start_with_ops(&arguments, &[]);
    let listeners = format!("{}, ops+http://{ops}", server.address);
    server.until_logged("AWS identity found");
    let log = server.stop();

    let started = line(&log, "broker started");
    assert_eq!(started["level"], "INFO");
    for (name, value) in [
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("config", json!(main)),
        ("included_files", json!(1)),
        ("region", json!("eu-west-1")),
        ("listeners", json!(listeners)),
        ("mode", json!("enforce")),
        ("grants", json!(1)),
        ("profiles", json!(1)),
    ] {
        assert_eq!(started[name], value, "{name}: {started}");
    }
    let identity = line(&log, "AWS identity found");
    assert_eq!(identity["account"].as_str().map(str::len), Some(12), "{identity}");
    assert!(identity["arn"].as_str().unwrap().starts_with("arn:aws:"), "{identity}");
    assert!(!log.contains("AKIA"), "no keys: {log}");
}

#[test]
fn p13_start_does_not_wait_for_the_name_of_the_identity() {
    let environment = [
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE000000000"),
        ("AWS_SECRET_ACCESS_KEY", "secret-of-the-test"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1"),
    ];
    let server = Server::start(&["serve", "--listen", "127.0.0.1:0", "--allow-loopback"], &environment);
    server.until_logged("AWS identity found; STS did not tell its account and role");
    let log = server.stop();
    assert_eq!(line(&log, "broker started")["mode"], "open");
    assert!(!log.contains("AKIAEXAMPLE") && !log.contains("secret-of-the-test"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_lines_count_connections_and_not_listeners() {
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("broker.sock").display());
    let arguments = [&SERVE_SIMULATED[..], &["--listen", &socket]].concat();
    let (server, _) = Server::start_with_second("unix:", &arguments, &[]);
    let log = server.stop();
    assert_eq!(line(&log, "shutdown started")["connections"], 0, "{log}");
    assert!(lines(&log, "drain started").is_empty(), "{log}");
    assert_eq!(log.lines().last().map(|last| last.contains("\"broker stopped\"")), Some(true), "{log}");

    let (server, _) = Server::start_with_second("unix:", &arguments, &[("ECR_BROKER_SERVER_DRAIN_DELAY", "100ms")]);
    let address = server.address.replace("grpc://", "http://");
    let mut client = Client::connect(address).await.unwrap();
    client.get_registry_credentials(request(HOST)).await.unwrap();
    let log = server.stop();
    let started = line(&log, "shutdown started");
    assert_eq!((&started["connections"], &started["drain_delay"]), (&json!(1), &json!("100ms")), "{log}");
    assert_eq!(line(&log, "drain started")["connections"], 1, "{log}");
}

/// Returns the metrics of the ops listener at an address.
fn scrape(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn reload_line_tells_mode_and_counts() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("broker.toml");
    fs::write(&file, GRANTS).unwrap();
    let arguments = [&SERVE_SIMULATED[..], &["--config", file.to_str().unwrap()]].concat();
    let (server, ops) = Server::start_with_ops(&arguments, &[]);
    write(&file, &format!("{GRANTS}{}", GRANTS.replace("\"a\"", "\"b\"")));
    signal(server.pid(), "HUP");
    server.until_logged("configuration reloaded");
    let metrics = scrape(&ops);
    let log = server.stop();
    let reloaded = &lines(&log, "configuration reloaded")[0];
    assert_eq!((&reloaded["mode"], &reloaded["grants"]), (&json!("enforce"), &json!(2)), "{reloaded}");
    let started = line(&log, "broker started");
    for fingerprint in ["policy", "config_hash"] {
        let [before, after] = [&started, reloaded].map(|line| line[fingerprint].as_str().unwrap());
        assert!(before != after && after.len() == 16, "{fingerprint}: {before} {after}");
    }
    let metric = format!("ecr_broker_config_info{{hash=\"{}\"}} 1\n", reloaded["config_hash"].as_str().unwrap());
    assert!(metrics.contains(&metric), "{metric}");
}

/// Runs the broker on a terminal until it listens, and returns what the terminal shows.
fn on_a_terminal(environment: &[(&str, &str)]) -> Option<String> {
    if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        skipped("no `script` from util-linux");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let listening = directory.path().join("stdout");
    // The broker's stdout goes to a file, so that the terminal shows what it writes to stderr.
    let shell = format!(
        "{PROGRAM} serve --simulate --listen 127.0.0.1:0 >{out} & while ! grep -q listening {out}; do sleep 0.1; done; \
         kill $!; wait $!",
        out = listening.display()
    );
    let mut script = Command::new("script");
    script.args(["-qec", &shell, "/dev/null"]).stdin(Stdio::null());
    for (name, value) in program(environment).get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let output = script.output().unwrap();
    let stdout = fs::read_to_string(&listening).unwrap();
    assert!(stdout.starts_with("listening on grpc://") && stdout.lines().count() == 1, "{stdout}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn simulation_on_a_terminal_says_what_to_type_next() {
    let Some(shown) = on_a_terminal(&[("TERM", "xterm"), ("NO_COLOR", "")]) else { return };
    assert!(shown.contains("ecr-broker get 123456789012.dkr.ecr.us-east-1.amazonaws.com --address http://127.0.0.1:"));
    assert!(shown.contains("\u{1b}["), "colours: {shown:?}");
}

#[test]
fn log_has_no_colours_with_no_color_or_on_a_dumb_terminal() {
    for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let Some(shown) = on_a_terminal(&[("TERM", "xterm"), ("NO_COLOR", ""), variable]) else { return };
        assert!(shown.contains("broker started") && !shown.contains('\u{1b}'), "{shown:?}");
    }
}

/// A service manager that only listens.
struct Manager {
    socket: UnixDatagram,
    directory: tempfile::TempDir,
}

impl Manager {
    fn listen() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { socket: UnixDatagram::bind(directory.path().join("notify")).unwrap(), directory }
    }

    /// Runs the broker as its service, with a watchdog.
    fn start(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Server {
        let mut command = Command::new("sh");
        command.args(["-c", "WATCHDOG_PID=$$ exec \"$0\" \"$@\"", PROGRAM]).args(arguments);
        for (name, value) in program(environment).get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("NOTIFY_SOCKET", self.directory.path().join("notify")).env("WATCHDOG_USEC", "1000000");
        Server::spawn_logging(command)
    }

    /// Receives messages until one begins as wanted, and returns it.
    fn until(&self, wanted: &str) -> String {
        let mut bytes = [0; 4096];
        loop {
            let length = self.socket.recv(&mut bytes).unwrap();
            let message = String::from_utf8(bytes[..length].to_vec()).unwrap();
            if message.starts_with(wanted) {
                return message;
            }
        }
    }
}

#[test]
fn service_manager_learns_of_start_reload_life_and_stop() {
    let manager = Manager::listen();
    let file = manager.directory.path().join("broker.toml");
    fs::write(&file, GRANTS).unwrap();
    let server = manager.start(&[&SERVE_SIMULATED[..], &["--config", file.to_str().unwrap()]].concat(), &[]);
    assert_eq!(manager.until("READY=1\n"), "READY=1\nSTATUS=serving: 0 cached, 0 connected");
    manager.until("WATCHDOG=1");
    manager.until("WATCHDOG=1");

    write(&file, &format!("{GRANTS}{}", GRANTS.replace("\"a\"", "\"b\"")));
    signal(server.pid(), "HUP");
    assert!(manager.until("RELOADING=1").starts_with("RELOADING=1\nMONOTONIC_USEC="));
    manager.until("READY=1");

    write(&file, "nonsense = 1\n");
    signal(server.pid(), "HUP");
    manager.until("RELOADING=1");
    manager.until("READY=1");
    let status = manager.until("STATUS=serving: 0 cached, 0 connected, ");
    assert!(status.ends_with(", a configuration file is not in effect"), "{status}");

    server.stop();
    let stopping = manager.until("STOPPING=1\n");
    assert!(stopping.ends_with("EXTEND_TIMEOUT_USEC=30000000\nSTATUS=draining: 0 connected"), "{stopping}");
}

/// A pipe without a writer waits as a file on a disk that does not answer.
#[test]
fn file_that_cannot_be_read_costs_no_sign_of_life() {
    let manager = Manager::listen();
    let [token, pipe] = ["token", "pipe"].map(|name| manager.directory.path().join(name));
    fs::write(&token, "token").unwrap();
    let environment = [
        ("TOKIO_WORKER_THREADS", "1"),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/ci"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("HTTPS_PROXY", "http://127.0.0.1:1"),
    ];
    let server = manager.start(&["serve", "--listen", "127.0.0.1:0", "--allow-loopback"], &environment);
    server.until_logged("AWS credentials not found");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::rename(&pipe, &token).unwrap();
    // Opening succeeds once the broker reads the pipe, and the broker waits for as long as it is open.
    let writer = fs::OpenOptions::new().write(true).open(&token).unwrap();
    manager.socket.set_nonblocking(true).unwrap();
    while manager.socket.recv(&mut [0; 4096]).is_ok() {}
    manager.socket.set_nonblocking(false).unwrap();
    // Without signs of life this is a failure, and no endless test.
    manager.socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    for _ in 0..4 {
        manager.until("WATCHDOG=1");
    }
    let file = manager.directory.path().join("file");
    fs::write(&file, "token").unwrap();
    fs::rename(&file, &token).unwrap();
    drop(writer);
    server.stop();
}

#[test]
fn processes_of_the_broker_do_not_reach_the_service_manager() {
    let manager = Manager::listen();
    let [seen, config] = ["seen", "aws"].map(|name| manager.directory.path().join(name));
    let keys = r#"{"Version":1,"AccessKeyId":"AKIAEXAMPLE000000000","SecretAccessKey":"secret-of-the-test"}"#;
    let script = manager.directory.path().join("process");
    fs::write(&script, format!("#!/bin/sh\nenv >{}\necho '{keys}'\n", seen.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&config, format!("[default]\ncredential_process = {}\n", script.display())).unwrap();
    let environment = [
        ("AWS_CONFIG_FILE", config.to_str().unwrap()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1"),
    ];
    let server = manager.start(&["serve", "--listen", "127.0.0.1:0", "--allow-loopback"], &environment);
    server.until_logged("AWS identity found");
    manager.until("READY=1\n");
    server.stop();
    let seen = fs::read_to_string(seen).unwrap();
    for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        assert!(!seen.contains(variable), "{seen}");
    }
}

#[test]
fn failed_start_tells_the_service_manager_why() {
    let manager = Manager::listen();
    let file = manager.directory.path().join("broker.toml");
    fs::write(&file, "[cache]\ncapacity = -1\nmax_waiters = -1\n").unwrap();
    let socket = manager.directory.path().join("notify");
    let failed = run(&["serve", "--config", file.to_str().unwrap()], &[("NOTIFY_SOCKET", socket.to_str().unwrap())]);
    assert_eq!(failed.code, 1);
    let status = manager.until("STATUS=the configuration is invalid: ");
    assert!(
        status.contains("cache.capacity") && status.ends_with(" (and 1 more)") && !status.contains("READY"),
        "{status}"
    );
}

/// The journal has the listeners in the line `broker started`; lines that are not JSON would only disturb its readers.
#[test]
fn journal_receives_only_lines_of_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let stdout = fs::File::create(directory.path().join("stdout")).unwrap();
    let found = stdout.metadata().unwrap();
    for (inode, printed) in [(found.ino(), false), (found.ino() + 1, true)] {
        let mut command = program(&[("JOURNAL_STREAM", &format!("{}:{inode}", found.dev()))]);
        command.args(SERVE_SIMULATED).stdout(stdout.try_clone().unwrap());
        let mut broker = Following::start(command);
        // The banner or the identity comes after the addresses.
        broker.until(|line| line.contains("AWS identity found").then_some(()));
        broker.end("TERM");
        let text = fs::read_to_string(directory.path().join("stdout")).unwrap();
        assert_eq!(text.starts_with("listening on grpc://"), printed, "{text}");
    }
}
