//! The real program, run as its users run it.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "each test file uses a part"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_ecr-broker");

/// A running `ecr-broker serve --simulate` on a free port. It is stopped when it goes.
pub struct Broker {
    child: Child,
    pub address: String,
    logs: Option<JoinHandle<String>>,
}

impl Broker {
    pub fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_with(arguments, environment, Stdio::piped())
    }

    pub fn start_with(arguments: &[&str], environment: &[(&str, &str)], stderr: Stdio) -> Self {
        let mut command = program(environment);
        command.args(["serve", "--simulate", "--listen", "127.0.0.1:0"]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let logs = child.stderr.take().map(|mut stderr| {
            std::thread::spawn(move || {
                let mut text = String::new();
                stderr.read_to_string(&mut text).unwrap();
                text
            })
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect("a line that names the address").to_owned();
        Self { child, address, logs }
    }

    /// As tonic takes it.
    pub fn uri(&self) -> String {
        self.address.replace("grpc://", "http://")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, a clean end, and all that was logged.
    pub fn stop(mut self) -> String {
        signal(self.child.id(), "TERM");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        self.logs.take().map(|logs| logs.join().unwrap()).unwrap_or_default()
    }

    pub fn wait(mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// The program, with nothing of the test's own environment that it would read.
pub fn program(environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars() {
        if ["ECR_BROKER_", "AWS_", "OTEL_", "RUST_", "XDG_"].iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.envs(environment.iter().copied());
    command
}
