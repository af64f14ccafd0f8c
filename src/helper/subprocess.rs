//! Runs another helper with a request on its stdin, for a limited time.

use std::io::{Error, ErrorKind, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::output::Output;
use crate::environment::{self, NESTED_HELPER};

/// Runs a program with `request` on its stdin. Its stderr is inherited. After `limit` it is killed, with the programs that it started.
pub(super) fn run(program: &str, arguments: &[&str], request: &str, limit: Duration) -> std::io::Result<Output> {
    if environment::variable(NESTED_HELPER).is_some() {
        return Err(Error::other(
            "an ecr-broker helper runs it already, and it may be the same program; name another helper",
        ));
    }
    let mut command = Command::new(program);
    command.args(arguments).env(NESTED_HELPER, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    let child = command.spawn()?;
    let (group, request) = (Pid::from_child(&child), request.to_owned());
    let (sender, output) = mpsc::channel();
    // Not joined after the limit: a program that left the group may keep stdout open.
    thread::spawn(move || sender.send(exchange(child, &request)));
    output.recv_timeout(limit).unwrap_or_else(|_| {
        let _ = kill_process_group(group, Signal::KILL);
        Err(no_answer(limit))
    })
}

/// Writes and reads concurrently: a program may fill the stdout pipe before it has read its stdin.
fn exchange(mut child: Child, request: &str) -> std::io::Result<Output> {
    let stdin = child.stdin.take();
    let output = thread::scope(|scope| {
        // A failed write is not an error: a program may exit without reading its stdin, and reports its own problem.
        scope.spawn(|| stdin.map(|mut stdin| stdin.write_all(request.as_bytes())));
        child.wait_with_output()
    })?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Output { stdout, stderr: String::new(), success: output.status.success() })
}

fn no_answer(limit: Duration) -> Error {
    let limit = humantime::format_duration(limit);
    Error::new(
        ErrorKind::TimedOut,
        format!("no answer within {limit}; run it by hand, or raise timeout in client.toml"),
    )
}
