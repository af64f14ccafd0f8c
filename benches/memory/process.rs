//! A server as a process, and its memory.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::client::Transport;
use crate::files;

/// A server that runs until it is dropped.
pub struct Server {
    child: Child,
    address: String,
    /// Kept open: the server may print more.
    _output: BufReader<ChildStdout>,
    /// The simulated AWS of a broker.
    _aws: Option<Box<Self>>,
}

impl Server {
    /// Starts hyper alone.
    pub fn raw(program: &Path, transport: Transport, place: &Path) -> Self {
        Self::start(Command::new(program).args(["raw-server", transport.name()]).arg(place), None)
    }

    /// Starts the broker with its audit log and a grant, and the simulated AWS in another process.
    pub fn broker(program: &Path, transport: Transport, place: &Path) -> Self {
        let aws = Self::start(Command::new(program).args(["simulate-aws", "--listen", "127.0.0.1:0"]), None);
        let config = files::broker_config(place, transport, &aws.address);
        let mut serve = Command::new(program);
        serve
            .arg("serve")
            .arg("--config")
            .arg(config)
            .env("AWS_ACCESS_KEY_ID", "any")
            .env("AWS_SECRET_ACCESS_KEY", "any");
        Self::start(serve.stderr(File::create(place.join("broker.log")).unwrap()), Some(Box::new(aws)))
    }

    fn start(command: &mut Command, aws: Option<Box<Self>>) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut output, mut line) = (BufReader::new(child.stdout.take().unwrap()), String::new());
        while !line.starts_with("listening on ") {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "{command:?} did not start");
        }
        let address = line.trim_start_matches("listening on ").trim().to_owned();
        Self { child, address, _output: output, _aws: aws }
    }

    /// Returns the address that the server printed.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the resident memory in bytes.
    pub fn resident(&self) -> i64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<i64>().unwrap() * 1_024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
