//! Everything before the first byte of an answer: clients wait for a broker, and repeat what may pass.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod certificates;
mod program;
mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use certificates::Authority;
use ecr_broker::client::{Client, PartialConfig, Paths, Query, Settings};
use program::{Ended, PROGRAM, Server, program, run, simulated_broker};
use socket2::{Domain, SockAddr, Socket, Type};
use support::{HOST, TestBroker};
use tokio::time::Instant;

const HELPER: &str = env!("CARGO_BIN_EXE_docker-credential-ecr-broker");
/// A time limit that no step of a test needs.
const PATIENT: &str = "60s";
/// What a client that does not wait stays below, on a loaded machine too.
const AT_ONCE: Duration = Duration::from_secs(30);

fn settings(address: &str, timeout: Duration) -> Settings {
    let address = Some(address.parse().unwrap());
    let config = PartialConfig { address, timeout: Some(timeout), ..PartialConfig::default() };
    config.settings(&Paths::default()).unwrap().0
}

async fn get(settings: &Settings) -> Result<(), String> {
    let query = Query { registry: HOST.to_owned(), ..Query::default() };
    let mut client = Client::connect(settings).await.map_err(|failure| failure.to_string())?;
    let mut results = client.credentials(&[query]).await.map_err(|failure| failure.to_string())?;
    results.remove(0).map(drop).map_err(|failure| failure.to_string())
}

async fn get_with(settings: Arc<Settings>) -> Result<(), String> {
    get(&settings).await
}

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// A socket path at which a broker appears once a client has been there.
struct LateBroker {
    broker: Server,
    directory: tempfile::TempDir,
}

impl LateBroker {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = unix(&directory.path().join("broker.sock"));
        Self { broker: Server::start(&["serve", "--simulate", "--listen", &address], &[]), directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a client. Its first three connections are closed without an answer, then nothing listens, then the broker does.
    fn answer_late(&self, mut client: Command) -> Ended {
        let path = self.path("late.sock");
        let dying = UnixListener::bind(&path).unwrap();
        client.env("ECR_BROKER_ADDRESS", unix(&path)).stdin(Stdio::piped());
        let mut child = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        _ = child.stdin.take().unwrap().write_all(HOST.as_bytes());
        for _ in 0..3 {
            drop(dying.accept().unwrap());
        }
        drop(dying);
        let link = self.path("link.sock");
        std::os::unix::fs::symlink(self.path("broker.sock"), &link).unwrap();
        fs::rename(&link, &path).unwrap();
        let ended = end(child);
        fs::remove_file(&path).unwrap();
        ended
    }
}

fn end(child: Child) -> Ended {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn every_command_waits_for_a_broker_that_comes_later() {
    let late = LateBroker::new();
    let authfile = late.path("auth.json");
    let authfile = authfile.to_str().unwrap();
    for arguments in [
        &["get", HOST][..],
        &["whoami"],
        &["probe"],
        &["sync", "--once", HOST, "--authfile", authfile],
        &["helper", "docker", "get"],
    ] {
        let mut command = program(&[("ECR_BROKER_TIMEOUT", PATIENT)]);
        command.args(arguments);
        let ended = late.answer_late(command);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{arguments:?}: {ended:?}");
    }
    let mut helper = Command::new(HELPER);
    helper.arg("get").env_clear().env("ECR_BROKER_TIMEOUT", PATIENT);
    let ended = late.answer_late(helper);
    assert!(ended.code == 0 && ended.stdout.contains("\"Username\":\"AWS\""), "{ended:?}");
    late.broker.stop();
}

#[test]
fn helper_waits_three_seconds_for_a_broker_within_its_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let address = unix(&directory.path().join("no.sock"));
    let mut helpers: Vec<(Command, &str)> = Vec::new();
    for (timeout, waited) in [("20s", "within 3.0 s: "), ("200ms", "within 0.2 s: ")] {
        let mut helper = Command::new(HELPER);
        helper.arg("get").env_clear().env("ECR_BROKER_ADDRESS", &address).env("ECR_BROKER_TIMEOUT", timeout);
        helpers.push((helper, waited));
        let mut helper = program(&[("ECR_BROKER_ADDRESS", &address)]);
        helper.args(["helper", "docker", "get", "--timeout", timeout]);
        helpers.push((helper, waited));
    }
    for (mut helper, waited) in helpers {
        let started = helper.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = started.unwrap();
        _ = child.stdin.take().unwrap().write_all(HOST.as_bytes());
        let ended = end(child);
        let text = ended.stdout + &ended.stderr;
        assert!(ended.code == 1 && text.contains(&format!("no broker answers at {address} {waited}")), "{text}");
    }
}

/// A socket whose queue of connections is full.
fn full_socket(path: &Path) -> (Socket, Vec<Socket>) {
    let (socket, address) = (Socket::new(Domain::UNIX, Type::STREAM, None).unwrap(), SockAddr::unix(path).unwrap());
    socket.bind(&address).unwrap();
    socket.listen(1).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        match client.connect(&address) {
            Ok(()) => waiting.push(client),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return (socket, waiting),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn full_backlog_is_retried_until_the_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("full.sock");
    let _full = full_socket(&path);
    let failure = get(&settings(&unix(&path), Duration::from_secs(10))).await.unwrap_err();
    let expected = format!("no broker answers at {} within 10.0 s: Resource temporarily unavailable", unix(&path));
    assert!(failure.starts_with(&expected), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn name_that_does_not_resolve_is_retried_until_the_timeout() {
    let failure = get(&settings("http://broker.invalid:50051", Duration::from_secs(10))).await.unwrap_err();
    assert!(failure.starts_with("no broker answers at http://broker.invalid:50051 within 10.0 s: "), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_always_cut_are_repeated_until_the_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cut.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let cuts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&cuts);
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(connection);
        }
    });
    let start = Instant::now();
    let failure = get(&settings(&unix(&path), Duration::from_secs(2))).await.unwrap_err();
    // The client gives up when its next attempt, after at most 400 ms, would come too late.
    assert!(start.elapsed() > Duration::from_millis(1_500), "{:?}: {failure}", start.elapsed());
    // The cut comes before or after the client has sent its first bytes. The time in the text is that of the last connection.
    let (at_once, later) = ("no broker answers at ", "connection to the broker lost: ");
    assert!(failure.starts_with(at_once) || failure.starts_with(later), "{failure}");
    assert!(failure.contains(" within ") || failure.contains(" times in "), "{failure}");
    assert!(cuts.load(Ordering::Relaxed) > 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_beyond_the_connection_limit_wait_for_their_place() {
    const LIMIT: usize = 8;
    let broker = TestBroker::start_with(|setup| setup.config.server.connections.max_connections_per_uid = LIMIT);
    let mut places: Vec<_> = (0..LIMIT).map(|_| UnixStream::connect(&broker.socket).unwrap()).collect();
    // The broker has counted a connection once it has answered it.
    for place in &mut places {
        place.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        place.read_exact(&mut [0; 9]).unwrap();
    }
    let refused = get(&settings(&unix(&broker.socket), Duration::from_secs(1))).await;
    assert!(refused.is_err(), "the limit is reached");
    let patient = Arc::new(settings(&unix(&broker.socket), Duration::from_mins(1)));
    let waiting: Vec<_> = (0..5 * LIMIT).map(|_| tokio::spawn(get_with(Arc::clone(&patient)))).collect();
    drop(places);
    for caller in waiting {
        caller.await.unwrap().unwrap();
    }
    broker.stop().await;
}

/// The limit of one user is 1,024 connections.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "1,400 clients in one process need an idle machine: cargo test --test connecting -- --ignored"]
async fn fourteen_hundred_callers_of_one_user_are_all_served() {
    const CALLERS: usize = 1_400;
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: files.maximum, ..files };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let address = unix(&directory.path().join("broker.sock"));
    // Every caller waits for the first call to AWS, so that the limit is reached.
    let listen = ["serve", "--simulate", "--simulate-latency", "1s", "--listen", &address];
    let broker = Server::start(&listen, &[("RUST_LOG", "error")]);
    let settings = Arc::new(settings(&address, Duration::from_mins(1)));
    let start = Instant::now();
    let callers = (0..CALLERS).map(|_| tokio::spawn(get_with(Arc::clone(&settings))));
    let mut failures = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        failures.extend(caller.await.unwrap().err());
    }
    println!("{CALLERS} callers within {:.1?}", start.elapsed());
    assert!(failures.is_empty(), "{} of {CALLERS} failed: {}", failures.len(), failures[0]);
    broker.stop();
}

#[test]
fn restarts_under_load_fail_no_call() {
    const RESTARTS: usize = 5;
    let directory = tempfile::tempdir().unwrap();
    let address = unix(&directory.path().join("broker.sock"));
    let start = || Server::start(&["serve", "--simulate", "--listen", &address], &[("RUST_LOG", "error")]);
    let (stop, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let caller = || {
        let mut failures = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let ended = run(&["get", HOST, "--address", &address, "--timeout", PATIENT], &[]);
            calls.fetch_add(1, Ordering::Relaxed);
            failures.extend((ended.code != 0).then_some(ended.stderr));
        }
        failures
    };
    let failures = std::thread::scope(|scope| {
        let mut broker = start();
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(caller)).collect();
        for restart in 1..=RESTARTS {
            // Each broker serves some calls.
            while calls.load(Ordering::Relaxed) < restart * 10 {
                std::thread::yield_now();
            }
            broker.stop();
            broker = start();
        }
        stop.store(true, Ordering::Relaxed);
        let failures: Vec<_> = callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect();
        broker.stop();
        failures
    });
    println!("{RESTARTS} restarts, {} calls", calls.load(Ordering::Relaxed));
    assert!(failures.is_empty(), "{}: {failures:?}", failures.len());
}

/// A TCP proxy that closes its first connections, and answers the others late.
fn slow_proxy(to: String, cut: usize, delay: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            if number >= cut {
                forward(stream, &to, delay);
            }
        }
    });
    port
}

fn forward(client: TcpStream, to: &str, delay: Duration) {
    let server = TcpStream::connect(to).unwrap();
    let (mut upward, mut downward) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || {
        _ = std::io::copy(&mut upward, &mut &server);
        _ = server.shutdown(std::net::Shutdown::Write);
    });
    std::thread::spawn(move || {
        std::thread::sleep(delay);
        _ = std::io::copy(&mut downward, &mut &client);
        _ = client.shutdown(std::net::Shutdown::Write);
    });
}

/// A broker with TLS that accepts anonymous callers' health checks, and its authority's file.
struct TlsBroker {
    broker: Server,
    authority: Authority,
    directory: tempfile::TempDir,
}

impl TlsBroker {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path(), "ca.pem", "ca");
        let (certificate, key) = authority.server().write(directory.path(), "server");
        let config = directory.path().join("broker.toml");
        let text = format!(
            "server.tls = {{ certificate = \"{}\", key = \"{}\" }}\n\
             authentication.client_ca = {{ \"a.example\" = \"{}\" }}\n",
            certificate.display(),
            key.display(),
            authority.file.display()
        );
        fs::write(&config, text).unwrap();
        let listen = ["serve", "--simulate", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"];
        Self { broker: Server::start(&listen, &[]), authority, directory }
    }

    fn socket_address(&self) -> String {
        self.broker.address.strip_prefix("grpcs://").unwrap().to_owned()
    }

    fn probe(port: u16, authority: &Authority) -> Ended {
        let address = format!("https://localhost:{port}");
        let ca = authority.file.to_str().unwrap();
        run(&["probe", "--timeout", PATIENT, "--address", &address, "--tls-ca", ca], &[])
    }
}

/// A peer that is slow: the test sleeps.
#[test]
fn tls_answer_after_one_and_a_half_seconds_is_waited_for() {
    let tls = TlsBroker::start();
    let port = slow_proxy(tls.socket_address(), 0, Duration::from_millis(1_500));
    assert_eq!(TlsBroker::probe(port, &tls.authority).out(), "serving\n");
}

#[test]
fn tls_handshake_that_breaks_off_is_repeated() {
    let tls = TlsBroker::start();
    let port = slow_proxy(tls.socket_address(), 3, Duration::ZERO);
    assert_eq!(TlsBroker::probe(port, &tls.authority).out(), "serving\n");
}

#[test]
fn certificate_that_does_not_verify_fails_at_once() {
    let tls = TlsBroker::start();
    let stranger = Authority::new(tls.directory.path(), "stranger.pem", "stranger");
    let port = slow_proxy(tls.socket_address(), 0, Duration::ZERO);
    let start = Instant::now();
    let ended = TlsBroker::probe(port, &stranger);
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    assert!(ended.code == 5 && ended.error().contains("certificate is signed by an untrusted authority"), "{ended:?}");
}

#[test]
fn unusable_tls_file_fails_at_once() {
    let start = Instant::now();
    let get = ["get", HOST, "--timeout", PATIENT, "--address", "https://localhost:1", "--tls-ca", "/no/such.pem"];
    let ended = run(&get, &[]);
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    assert!(ended.code == 1 && ended.error().contains("cannot read /no/such.pem"), "{ended:?}");
}

#[test]
fn mistakes_of_tls_are_told_in_words_and_lead_to_doctor() {
    let (tls, plain) = (TlsBroker::start(), simulated_broker(&[], &[]));
    let directory = tls.directory.path();
    let [(certificate, _), (_, key)] =
        ["one", "two"].map(|name| tls.authority.workload("spiffe://a.example/x").write(directory, name));
    let identity = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let (http, https) = (tls.broker.address.replace("grpcs", "http"), plain.address.replace("grpc", "https"));
    for (address, flags, problem, code) in [
        (&http, &[][..], "the server speaks TLS or another protocol, not gRPC in plaintext", 5),
        (&https, &[], "it does not speak TLS", 5),
        (&https, &identity, "client certificate and key do not belong together; name a certificate and its own key", 1),
    ] {
        let start = Instant::now();
        let ended = run(&[&["whoami", "--timeout", PATIENT, "--address", address], flags].concat(), &[]);
        assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
        assert!(ended.code == code && ended.error().contains(problem), "{problem}: {ended:?}");
        assert_eq!(ended.stderr.contains("; run `ecr-broker doctor` with the same settings"), code == 5, "{ended:?}");
    }
}

#[test]
fn server_of_another_protocol_fails_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            _ = stream.read(&mut [0; 24]);
            _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let start = Instant::now();
    let ended = run(&["get", HOST, "--timeout", PATIENT, "--address", &address], &[]);
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    assert!(ended.code == 5 && ended.error().contains("frame with invalid size"), "{ended:?}");
}

#[test]
fn regular_file_as_a_socket_fails_at_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let start = Instant::now();
    let ended = run(&["get", HOST, "--timeout", PATIENT, "--address", &unix(file.path())], &[]);
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    assert!(ended.code == 5 && ended.error().contains("it is not a socket"), "{ended:?}");
}

/// Root may open every socket. A test that runs as root runs the program as another user.
#[test]
fn socket_without_permission_fails_at_once() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().join("broker.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = Command::new(PROGRAM);
    command.env_clear().args(["get", HOST, "--timeout", PATIENT, "--address", &unix(&path)]);
    if rustix::process::geteuid().is_root() {
        command.uid(1).gid(1);
    }
    let start = Instant::now();
    let ended = end(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    assert!(
        ended.code == 5 && ended.error().contains("ask the operator to add you to the socket's group"),
        "{ended:?}"
    );
}

/// A TCP socket that does not answer a SYN: its queue is full until one of the connections in it is accepted.
fn silent_socket() -> (TcpListener, Vec<Socket>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let socket = Socket::from(listener);
    socket.listen(0).unwrap();
    let fill = || {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        _ = client.connect(&address.into());
        client
    };
    let waiting = (0..4).map(|_| fill()).collect();
    (socket.into(), waiting)
}

/// The kernel sends a SYN again after a second: the test sleeps.
#[test]
fn lost_syn_is_sent_again_within_the_timeout() {
    let broker = simulated_broker(&[], &[]);
    let to = broker.address.strip_prefix("grpc://").unwrap().to_owned();
    let (listener, waiting) = silent_socket();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let accepting = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        drop(waiting);
        for stream in listener.incoming().map_while(Result::ok) {
            forward(stream, &to, Duration::ZERO);
        }
    });
    let start = Instant::now();
    run(&["get", HOST, "--timeout", PATIENT, "--address", &address], &[]).out();
    assert!(start.elapsed() > Duration::from_millis(900), "{:?}: the SYN was not lost", start.elapsed());
    assert!(!accepting.is_finished());
    broker.stop();
}

#[test]
fn second_address_serves_while_the_first_is_silent() {
    let (silent, _waiting) = silent_socket();
    let broker = simulated_broker(&[], &[]);
    let addresses = format!("http://{},{}", silent.local_addr().unwrap(), broker.address);
    run(&["get", HOST, "--timeout", PATIENT, "--address", &addresses], &[]).out();
    broker.stop();
}
