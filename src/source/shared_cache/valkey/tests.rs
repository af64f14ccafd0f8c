//! Valkey's client against servers that the tests script.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::sync::lock;

/// No test waits this long, unless it fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// Answers a command; `None`: never.
type Answer = dyn Fn(&[String]) -> Option<String> + Send + Sync;

/// A server that answers as the test tells.
struct Server {
    address: Address,
    answer: Arc<Mutex<Arc<Answer>>>,
    connections: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    async fn start(answer: impl Fn(&[String]) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let address = Address::Tcp { host: address.ip().to_string(), port: address.port() };
        let answer: Arc<Mutex<Arc<Answer>>> = Arc::new(Mutex::new(Arc::new(answer)));
        let connections = Arc::new(AtomicUsize::new(0));
        let (answers, counted) = (Arc::clone(&answer), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                open.push(AbortOnDropHandle::new(tokio::spawn(serve(stream, Arc::clone(&answers)))));
            }
        });
        Self { address, answer, connections, _task: AbortOnDropHandle::new(task) }
    }

    fn answer_by(&self, answer: impl Fn(&[String]) -> Option<String> + Send + Sync + 'static) {
        *lock(&self.answer) = Arc::new(answer);
    }
}

async fn serve(stream: TcpStream, answer: Arc<Mutex<Arc<Answer>>>) {
    let mut stream = BufReader::new(stream);
    while let Some(command) = read_command(&mut stream).await {
        let answer = Arc::clone(&lock(&answer));
        match answer(&command) {
            Some(text) if text.is_empty() => return,
            Some(text) => stream.write_all(text.as_bytes()).await.unwrap_or_default(),
            None => std::future::pending().await,
        }
    }
}

async fn read_command(stream: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let parts = line.strip_prefix('*')?.trim().parse::<usize>().ok()?;
    let mut command = Vec::new();
    for _ in 0..parts {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let mut part = vec![0; line.strip_prefix('$')?.trim().parse::<usize>().ok()? + 2];
        stream.read_exact(&mut part).await.ok()?;
        part.truncate(part.len() - 2);
        command.push(String::from_utf8_lossy(&part).into_owned());
    }
    Some(command)
}

/// Answers probes; everything else as `operations` tells.
fn working(operations: impl Fn(&[String]) -> Option<String> + Send + Sync) -> impl Fn(&[String]) -> Option<String> {
    move |command| {
        if command.iter().any(|part| part.contains("{probe}")) { Some(":1\r\n".into()) } else { operations(command) }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a script of answers, of which others have none")]
fn leased(_: &[String]) -> Option<String> {
    Some("*1\r\n$1\r\nL\r\n".into())
}

fn settings(servers: Servers, timeout: Duration) -> Settings {
    Settings {
        target: Target { servers, tls: false },
        prefix: "test".to_owned(),
        username: None,
        password_file: None,
        tls: TlsFiles::default(),
        timeout,
    }
}

fn single(server: &Server) -> Valkey {
    let servers = Servers::Standalone(server.address.clone());
    Valkey::start(settings(servers, Duration::from_secs(10)), &mut Registry::default())
}

fn entry() -> EntryName {
    EntryName::of_hash([7; 16])
}

async fn lease(valkey: &Valkey) -> Result<TierAnswer, TierError> {
    timeout(PATIENCE, valkey.get_or_lease(&entry(), &LeaseOwner::random(), None)).await.expect("an answer")
}

/// Repeats an operation until the breaker has opened or closed.
async fn until(valkey: &Valkey, state: NodeState) -> NodeStatus {
    let node = match &valkey.route {
        Route::Single(node) => Arc::clone(node),
        Route::Cluster(_) => panic!("a cluster"),
    };
    timeout(PATIENCE, node.until(state)).await.expect("the state");
    valkey.nodes().remove(0)
}

#[tokio::test]
async fn operation_waits_for_the_first_connection() {
    let server = Server::start(working(leased)).await;
    let valkey = single(&server);
    assert_eq!(lease(&valkey).await, Ok(TierAnswer::Leased));
    assert_eq!(valkey.nodes()[0].state, NodeState::Connected);
}

#[tokio::test]
async fn server_that_does_not_answer_costs_one_time_limit() {
    let server = Server::start(working(|_| None)).await;
    let servers = Servers::Standalone(server.address.clone());
    let valkey = Valkey::start(settings(servers, Duration::from_millis(500)), &mut Registry::default());
    until(&valkey, NodeState::Connected).await;
    assert_eq!(lease(&valkey).await, Err(TierError::Unavailable));
    assert_eq!(lease(&valkey).await, Err(TierError::BreakerOpen));
    assert_eq!(valkey.nodes()[0].last_fault, Some(FaultClass::Timeout));
    server.answer_by(working(leased));
    until(&valkey, NodeState::Connected).await;
    assert_eq!(lease(&valkey).await, Ok(TierAnswer::Leased));
}

#[tokio::test]
async fn only_the_first_operation_waits_for_a_server_that_does_not_greet() {
    let server = Server::start(|_| None).await;
    let servers = Servers::Standalone(server.address.clone());
    let valkey = Valkey::start(settings(servers, Duration::from_millis(20)), &mut Registry::default());
    assert_eq!(lease(&valkey).await, Err(TierError::Unavailable));
    assert_eq!(lease(&valkey).await, Err(TierError::BreakerOpen));
    server.answer_by(working(leased));
    until(&valkey, NodeState::Connected).await;
    assert_eq!(lease(&valkey).await, Ok(TierAnswer::Leased));
}

#[tokio::test]
async fn refused_connection_opens_the_breaker_until_a_server_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
    drop(listener);
    let servers = Servers::Standalone(address);
    let valkey = Valkey::start(settings(servers, Duration::from_secs(10)), &mut Registry::default());
    let node = until(&valkey, NodeState::BreakerOpen).await;
    assert_eq!(node.last_fault, Some(FaultClass::Unreachable));
    assert_eq!(lease(&valkey).await, Err(TierError::BreakerOpen));
}

#[tokio::test]
async fn server_with_other_answers_is_not_used_until_it_heals() {
    let heals = [
        ("HTTP/1.1 400 Bad Request\r\n\r\n", FaultClass::Invalid),
        ("*1000000\r\n", FaultClass::Invalid),
        ("$999999999\r\n", FaultClass::Invalid),
        ("+OK\r\n", FaultClass::Invalid),
        (":1\r\n:2\r\n:3\r\n", FaultClass::Invalid),
        ("-READONLY You can't write against a read only replica.\r\n", FaultClass::ReadOnly),
        ("-OOM command not allowed when used memory > 'maxmemory'.\r\n", FaultClass::Full),
        ("-MOVED 3999 127.0.0.1:1\r\n", FaultClass::Moved),
        ("-LOADING Redis is loading the dataset in memory\r\n", FaultClass::Busy),
        ("-NOAUTH Authentication required.\r\n", FaultClass::Denied),
        ("", FaultClass::Unreachable),
    ]
    .map(|(answer, class)| async move {
        let server = Server::start(move |_| Some(answer.to_owned())).await;
        let valkey = single(&server);
        let node = until(&valkey, NodeState::BreakerOpen).await;
        assert_eq!(node.last_fault, Some(class), "{answer:?}");
        assert_eq!(lease(&valkey).await, Err(TierError::BreakerOpen));
        server.answer_by(working(leased));
        until(&valkey, NodeState::Connected).await;
        assert_eq!(lease(&valkey).await, Ok(TierAnswer::Leased), "{answer:?}");
    });
    futures_util::future::join_all(heals).await;
}

#[tokio::test]
async fn three_failures_in_a_row_open_the_breaker() {
    let failing = working(|command: &[String]| match command[0].as_str() {
        "EVALSHA" if command[4].ends_with(":l") && command.len() == 9 => Some("-OOM full\r\n".into()),
        _ => Some(":1\r\n".into()),
    });
    let server = Server::start(failing).await;
    let valkey = single(&server);
    let owner = LeaseOwner::random();
    for _ in 0..2 {
        for _ in 0..2 {
            assert_eq!(lease(&valkey).await, Err(TierError::Unavailable));
        }
        assert_eq!(valkey.renew(&entry(), &owner).await, Ok(true), "a success in between");
    }
    for _ in 0..3 {
        assert_eq!(lease(&valkey).await, Err(TierError::Unavailable));
    }
    assert_eq!(lease(&valkey).await, Err(TierError::BreakerOpen));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1, "a full server is not connected to again");
}

#[tokio::test]
async fn closed_connection_is_replaced_before_the_next_operation() {
    let server = Server::start(working(|command| (command[0] == "EVALSHA").then(String::new))).await;
    let valkey = single(&server);
    until(&valkey, NodeState::Connected).await;
    assert_eq!(lease(&valkey).await, Err(TierError::Unavailable));
    server.answer_by(working(leased));
    until(&valkey, NodeState::Connected).await;
    assert_eq!(lease(&valkey).await, Ok(TierAnswer::Leased));
}

#[tokio::test]
async fn unknown_script_is_sent_as_text() {
    let by_text = |command: &[String]| match command[0].as_str() {
        "EVAL" => leased(command),
        _ => Some("-NOSCRIPT No matching script.\r\n".into()),
    };
    let server = Server::start(working(by_text)).await;
    assert_eq!(lease(&single(&server)).await, Ok(TierAnswer::Leased));
}

#[tokio::test]
async fn password_is_read_again_for_each_connection() {
    use std::os::unix::fs::OpenOptionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    let write = |text: &str| {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&file).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    };
    write("old\n");
    let server = Server::start(|command| match command {
        [auth, user, password] if auth == "AUTH" => {
            let is_valid = user == "broker" && password == "new";
            Some(if is_valid { "+OK\r\n".into() } else { "-WRONGPASS invalid username-password pair\r\n".into() })
        }
        _ => working(leased)(command),
    })
    .await;
    let servers = Servers::Standalone(server.address.clone());
    let settings = Settings {
        username: Some("broker".into()),
        password_file: Some(file.clone()),
        ..settings(servers, Duration::from_secs(10))
    };
    let valkey = Valkey::start(settings, &mut Registry::default());
    assert_eq!(until(&valkey, NodeState::BreakerOpen).await.last_fault, Some(FaultClass::Denied));
    write("new\n");
    until(&valkey, NodeState::Connected).await;
    assert_eq!(lease(&valkey).await, Ok(TierAnswer::Leased));
}

#[tokio::test]
async fn cluster_remembers_the_node_of_a_slot_and_forgets_one_that_fails() {
    let owner = Server::start(working(leased)).await;
    let to = owner.address.to_string();
    let moved = move |_: &[String]| Some(format!("-MOVED 1 {to}\r\n"));
    let seed = Server::start(moved.clone()).await;
    let servers = Servers::Cluster(vec![seed.address.clone()]);
    let valkey = Valkey::start(settings(servers, Duration::from_secs(10)), &mut Registry::default());
    assert_eq!(lease(&valkey).await, Ok(TierAnswer::Leased));
    seed.answer_by(|_| Some("-ERR not asked again\r\n".into()));
    assert_eq!(lease(&valkey).await, Ok(TierAnswer::Leased));
    assert_eq!(valkey.nodes().len(), 2);

    let successor = Server::start(working(leased)).await;
    let to = successor.address.to_string();
    seed.answer_by(move |_| Some(format!("-MOVED 1 {to}\r\n")));
    owner.answer_by(|_| Some(String::new()));
    assert_eq!(lease(&valkey).await, Err(TierError::Unavailable), "the owner closes the connection");
    assert_eq!(lease(&valkey).await, Ok(TierAnswer::Leased), "the seed names the successor");
}

#[tokio::test]
async fn cluster_follows_a_slot_that_is_being_moved_and_no_endless_redirection() {
    let target = Server::start(working(|command| {
        Some(if command[0] == "ASKING" { "+OK\r\n".into() } else { "*1\r\n$1\r\nL\r\n".into() })
    }))
    .await;
    let to = target.address.to_string();
    let seed = Server::start(working(move |_: &[String]| Some(format!("-ASK 1 {to}\r\n")))).await;
    let servers = Servers::Cluster(vec![seed.address.clone()]);
    let valkey = Valkey::start(settings(servers, Duration::from_secs(10)), &mut Registry::default());
    assert_eq!(lease(&valkey).await, Ok(TierAnswer::Leased));
    let own = seed.address.to_string();
    seed.answer_by(working(move |_: &[String]| Some(format!("-MOVED 1 {own}\r\n"))));
    assert_eq!(lease(&valkey).await, Err(TierError::Unavailable));
}

#[tokio::test]
async fn sentinel_names_the_primary_after_each_loss() {
    let (first, second) = (Server::start(working(leased)).await, Server::start(working(leased)).await);
    let named = |server: &Server| {
        let Address::Tcp { host, port } = &server.address else { panic!("TCP") };
        let port = port.to_string();
        format!("*2\r\n${}\r\n{host}\r\n${}\r\n{port}\r\n", host.len(), port.len())
    };
    let (of_first, of_second) = (named(&first), named(&second));
    let unknown = Server::start(|_| Some("*-1\r\n".into())).await;
    let sentinel = Server::start(move |_| Some(of_first.clone())).await;
    let sentinels = vec![unknown.address.clone(), sentinel.address.clone()];
    let servers = Servers::Sentinel { sentinels, primary: "main".into() };
    let valkey = Valkey::start(settings(servers, Duration::from_secs(10)), &mut Registry::default());
    assert_eq!(lease(&valkey).await, Ok(TierAnswer::Leased));
    sentinel.answer_by(move |_| Some(of_second.clone()));
    first.answer_by(|_| Some("-READONLY You can't write against a read only replica.\r\n".into()));
    assert_eq!(lease(&valkey).await, Err(TierError::Unavailable));
    assert_eq!(lease(&valkey).await, Ok(TierAnswer::Leased));
    assert_eq!(second.connections.load(Ordering::SeqCst), 1);
}
