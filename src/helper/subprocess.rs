//! Runs another helper with a request on its stdin, for a limited time.

use std::io::{Error, ErrorKind, Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use super::output::Output;
use crate::environment::{self, NESTED_HELPER};
use crate::process_tree::Separation;

/// Wait for more output after a program has exited, while a process that it left behind keeps stdout open.
const GRACE: Duration = Duration::from_millis(500);

/// Time limit of a program, and the setting in `client.toml` that raises it.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeLimit {
    pub(super) duration: Duration,
    pub(super) setting: &'static str,
}

/// Returns whether an ecr-broker helper runs this one.
pub(super) fn is_nested() -> bool {
    environment::variable(NESTED_HELPER).is_some()
}

/// Runs a program with `request` on its stdin. Its stderr is inherited. After `limit` it is killed, and without a terminal the programs
/// that it started, too.
pub(super) fn run(program: &str, arguments: &[&str], request: &str, limit: TimeLimit) -> std::io::Result<Output> {
    if is_nested() {
        return Err(Error::other(
            "an ecr-broker helper runs it already, and it may be the same program; name another helper",
        ));
    }
    let mut command = Command::new(program);
    command.args(arguments).env(NESTED_HELPER, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
    let separation = Separation::of(&mut command);
    let child = command.spawn()?;
    let (tree, request) = (separation.tree(child.id()), request.to_owned());
    let (sender, output) = mpsc::channel();
    // Not joined after the limit: a program that left the group may keep stdout open.
    thread::spawn(move || sender.send(exchange(child, request)));
    output.recv_timeout(limit.duration).unwrap_or_else(|_| {
        tree.kill();
        Err(no_answer(limit))
    })
}

/// Writes and reads concurrently: a program may fill the stdout pipe before it has read its stdin.
fn exchange(mut child: Child, request: String) -> std::io::Result<Output> {
    let stdin = child.stdin.take();
    // A failed write is not an error: a program may exit without reading its stdin, and reports its own problem.
    thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(request.as_bytes())));
    let chunks = child.stdout.take().map(read_chunks);
    let success = child.wait()?.success();
    let mut stdout = Vec::new();
    while let Some(chunk) = chunks.as_ref().and_then(|chunks| chunks.recv_timeout(GRACE).ok()) {
        stdout.extend(chunk);
    }
    Ok(Output { stdout: String::from_utf8_lossy(&stdout).into_owned(), stderr: String::new(), success })
}

/// Reads until the end, in a thread that is not joined: a process left behind may keep the stream open.
fn read_chunks(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, chunks) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            if sender.send(buffer.get(..length).unwrap_or_default().to_vec()).is_err() {
                return;
            }
        }
    });
    chunks
}

fn no_answer(TimeLimit { duration, setting }: TimeLimit) -> Error {
    let limit = humantime::format_duration(duration);
    let text = format!("no answer within {limit}; run it by hand, or raise {setting} in client.toml");
    Error::new(ErrorKind::TimedOut, text)
}
