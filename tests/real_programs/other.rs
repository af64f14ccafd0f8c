//! Programs of other projects: their paths, and how to run them.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Start timeout of a program. An emulator of AWS takes ten seconds on two busy cores.
const START: Duration = Duration::from_mins(2);

/// A program that `.ci/tools` installs below `$TOOLS`.
pub(crate) fn tool(name: &str) -> Command {
    let path = tools().join(name);
    assert!(path.exists(), "{} is missing: run .ci/tools, or set TOOLS to where it installed", path.display());
    Command::new(path)
}

/// Python with the packages in `.ci/requirements.txt`.
pub(crate) fn python() -> Command {
    tool("venv/bin/python")
}

pub(crate) fn tools() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "a test's own setting")]
    let tools = std::env::var_os("TOOLS");
    tools.map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools").into(), PathBuf::from)
}

/// A script in `tests/clients/`.
pub(crate) fn script(name: &str) -> String {
    format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs a program to its end. The test's output shows what it printed.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    println!("{}{}", text(&output.stdout), text(&output.stderr));
    output
}

/// Runs a program that must succeed, and returns its stdout.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}", output.status);
    text(&output.stdout)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server of another project. It is stopped on drop.
pub(crate) struct Foreign {
    child: Child,
    /// The port that it announces.
    pub(crate) port: u16,
}

impl Foreign {
    /// Starts the server, and waits for a line with `announcement`; the number after it is the port.
    pub(crate) fn start(command: &mut Command, announcement: &str) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let both = command.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
        let child = both.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        // The command keeps its end of the pipe open. Without this the reader would never see the end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let (found, announced) = mpsc::channel();
        let wanted = announcement.to_owned();
        std::thread::spawn(move || {
            let mut output = String::new();
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                match line.split_once(&wanted).and_then(|(_, rest)| port(rest)) {
                    Some(port) => _ = found.send(Ok(port)),
                    None => output = output + &line + "\n",
                }
            }
            _ = found.send(Err(output));
        });
        let mut server = Self { child, port: 0 };
        server.port = match announced.recv_timeout(START) {
            Ok(Ok(port)) => port,
            other => panic!("{command:?} did not start: {other:?}"),
        };
        server
    }

    /// Returns the URL of the server.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn port(text: &str) -> Option<u16> {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
