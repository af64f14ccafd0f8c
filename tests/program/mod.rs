//! Runs the real program.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "each test file uses a part"
)]

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// The arguments of a broker on a free port with a simulated AWS behind it.
pub const SERVE_SIMULATED: [&str; 4] = ["serve", "--simulate", "--listen", "127.0.0.1:0"];

/// Longest wait for a log line.
const LOG_WAIT: Duration = Duration::from_mins(1);

/// The broker's variable that turns its fast path off.
pub const FAST_PATH: &str = "ECR_BROKER_SERVER_FAST_PATH";

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_ecr-broker");

/// A running `ecr-broker` that listens. Dropping it kills the process.
pub struct Server {
    child: Child,
    /// The address that the program prints.
    pub address: String,
    logs: Option<Logs>,
}

/// The lines that a program writes, most often to stderr.
pub struct Logs {
    text: Arc<(Mutex<String>, Condvar)>,
    reader: JoinHandle<()>,
}

impl Logs {
    pub fn of(source: impl Read + Send + 'static) -> Self {
        let text = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let written = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                written.0.lock().unwrap().push_str(&(line + "\n"));
                written.1.notify_all();
            }
        });
        Self { text, reader }
    }

    /// Waits until a text was written a number of times.
    pub fn until(&self, wanted: &str, times: usize) {
        let (text, changed) = &*self.text;
        let missing = |text: &mut String| text.matches(wanted).count() < times;
        let (text, outcome) = changed.wait_timeout_while(text.lock().unwrap(), LOG_WAIT, missing).unwrap();
        assert!(!outcome.timed_out(), "{wanted:?} is not logged: {text}");
    }

    /// Returns what was written so far.
    pub fn text(&self) -> String {
        self.text.0.lock().unwrap().clone()
    }

    /// Waits for the end and returns everything.
    fn whole(self) -> String {
        self.reader.join().unwrap();
        self.text.0.lock().unwrap().clone()
    }
}

impl Server {
    pub fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_with(arguments, environment, Stdio::piped())
    }

    pub fn start_with(arguments: &[&str], environment: &[(&str, &str)], stderr: Stdio) -> Self {
        let mut command = program(environment);
        command.args(arguments).stderr(stderr);
        Self::spawn(command)
    }

    /// Starts a command and keeps its log.
    pub fn spawn_logging(mut command: Command) -> Self {
        command.stderr(Stdio::piped());
        Self::spawn(command)
    }

    /// Starts with the ECR API; returns its address, the second that the program prints.
    pub fn start_with_aws_api(arguments: &[&str], environment: &[(&str, &str)]) -> (Self, String) {
        Self::start_with_second("aws+http://", arguments, environment)
    }

    /// Starts with the ops listener on a free port of loopback; returns its address, the second that the program prints.
    pub fn start_with_ops(arguments: &[&str], environment: &[(&str, &str)]) -> (Self, String) {
        let environment = [&[("ECR_BROKER_SERVER_OPS_LISTEN", "127.0.0.1:0")], environment].concat();
        Self::start_with_second("ops+http://", arguments, &environment)
    }

    /// Starts with a second listener; returns its address without the scheme.
    pub fn start_with_second(scheme: &str, arguments: &[&str], environment: &[(&str, &str)]) -> (Self, String) {
        let mut command = program(environment);
        command.args(arguments).stderr(Stdio::piped());
        let (server, mut stdout) = Self::spawn_listening(command);
        let address = next_address(&mut stdout).unwrap();
        (server, address.strip_prefix(scheme).unwrap_or_else(|| panic!("{address}")).to_owned())
    }

    /// Starts a command that runs the program.
    pub fn spawn(command: Command) -> Self {
        Self::spawn_listening(command).0
    }

    fn spawn_listening(mut command: Command) -> (Self, BufReader<ChildStdout>) {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let logs = child.stderr.take().map(Logs::of);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let Some(address) = next_address(&mut stdout) else {
            _ = child.wait();
            panic!("{command:?} does not listen: {}", logs.map(Logs::whole).unwrap_or_default());
        };
        (Self { child, address, logs }, stdout)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the resident memory in MB.
    pub fn memory_mb(&self) -> u64 {
        self.status_mb("VmRSS:")
    }

    /// Returns the peak of the resident memory in MB.
    pub fn peak_memory_mb(&self) -> u64 {
        self.status_mb("VmHWM:")
    }

    /// Returns the resident pages of files, most of them the program's, in MB.
    pub fn file_memory_mb(&self) -> u64 {
        self.status_mb("RssFile:")
    }

    fn status_mb(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// Returns the user and system time, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        ticks / 100.0
    }

    /// Returns the number of open files and sockets.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until a line with this text is logged.
    pub fn until_logged(&self, text: &str) {
        self.logs.as_ref().unwrap().until(text, 1);
    }

    /// Returns whether a line with this text was logged.
    pub fn has_logged(&self, text: &str) -> bool {
        self.logs.as_ref().unwrap().text().contains(text)
    }

    /// Waits until such a line is logged twice.
    pub fn until_logged_again(&self, text: &str) {
        self.logs.as_ref().unwrap().until(text, 2);
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Sends SIGTERM, checks the exit code and returns the log.
    pub fn stop(mut self) -> String {
        signal(self.child.id(), "TERM");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        self.logs.take().map(Logs::whole).unwrap_or_default()
    }
}

fn next_address(stdout: &mut BufReader<ChildStdout>) -> Option<String> {
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    line.trim().strip_prefix("listening on ").map(str::to_owned)
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A running program whose stderr is read line by line. Dropping it kills the process.
pub struct Following {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Following {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        Self { child, lines }
    }

    /// Reads lines until `wanted` returns a value for one.
    pub fn until<T>(&mut self, wanted: impl Fn(&str) -> Option<T>) -> T {
        let (mut seen, until) = (Vec::new(), tokio::time::Instant::now() + LOG_WAIT);
        loop {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no such line: {seen:?}"));
            if let Some(found) = wanted(&line) {
                return found;
            }
            seen.push(line);
        }
    }

    /// Sends a signal and waits for the exit.
    pub fn end(mut self, name: &str) -> ExitStatus {
        signal(self.child.id(), name);
        self.child.wait().unwrap()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// `ecr-broker serve --simulate` on a free port.
pub fn simulated_broker(arguments: &[&str], environment: &[(&str, &str)]) -> Server {
    Server::start(&[&SERVE_SIMULATED, arguments].concat(), environment)
}

/// The result of a command.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Runs a command and waits for its exit.
    pub fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Returns stdout of a successful command that wrote nothing to stderr.
    pub fn out(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{}", self.stdout);
        self.stdout
    }

    /// Returns stdout of a successful command.
    pub fn out_anyway(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// Returns the one error line on stderr. Log lines are JSON.
    pub fn error(&self) -> &str {
        let mut lines = self.stderr.lines().filter(|line| !line.starts_with('{'));
        let line = lines.next().unwrap_or_else(|| panic!("no error: {self:?}"));
        assert!(line.starts_with("ecr-broker: ") && lines.next().is_none(), "{}", self.stderr);
        line
    }
}

/// Says that a test checks nothing here: on stderr itself, because the harness hides what macros print.
pub fn skipped(reason: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "SKIPPED {test}: {reason}").unwrap();
}

/// Runs a command and waits for its exit.
pub fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    Ended::of(program(environment).args(arguments))
}

/// Runs a check for each case, all at once: clients that retry until their timeout mostly wait.
pub fn at_once<T: Send>(cases: impl IntoIterator<Item = T>, check: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| check(case));
        }
    });
}

pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Returns the program without the variables of the test's environment that it would read.
///
/// `TESTED_PROGRAM` names another build of it, such as an optimised one for the long forms of attacks. [`FAST_PATH`] is passed on: with
/// `false` the whole run of the tests is without the fast path.
#[expect(clippy::disallowed_methods, reason = "a variable of the test, which the program does not read")]
pub fn program(environment: &[(&str, &str)]) -> Command {
    let tested = std::env::var_os("TESTED_PROGRAM").unwrap_or_else(|| PROGRAM.into());
    let mut command = program_at(Path::new(&tested), &[]);
    command.envs(std::env::var_os(FAST_PATH).map(|value| (FAST_PATH, value)));
    command.envs(environment.iter().copied());
    command
}

/// Copies the program, by another process: a child of another test would inherit the open copy, which is busy until that child's exec.
pub fn copy_to(path: impl AsRef<Path>) {
    assert!(Command::new("cp").arg(PROGRAM).arg(path.as_ref()).status().unwrap().success());
}

/// Returns the same of a copy of the program.
pub fn program_at(file: &Path, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(file);
    for (name, _) in std::env::vars() {
        if ["ECR_BROKER_", "AWS_", "OTEL_", "RUST_", "XDG_"].iter().any(|prefix| name.starts_with(prefix))
            || name.to_ascii_uppercase().ends_with("_PROXY")
        {
            command.env_remove(name);
        }
    }
    command.envs(environment.iter().copied());
    command
}

/// Returns `command` as systemd starts it: with its stdin as an activated socket, descriptor 3.
pub fn activated(command: &Command, socket: impl Into<OwnedFd>) -> Command {
    let mut service = in_shell(command, "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\" 3<&0 0</dev/null");
    service.stdin(socket.into());
    service
}

/// Returns a shell that runs a script with `command` as its arguments.
pub fn in_shell(command: &Command, script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    command.get_current_dir().into_iter().for_each(|directory| _ = shell.current_dir(directory));
    shell
}
