//! haproxy in front of the broker: PROXY protocol v2, as `server.proxy_protocol_from` reads it.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ecr_broker::pb::GetCallerIdentityRequest;
use ecr_broker::pb::registry_credentials_service_client::RegistryCredentialsServiceClient;
use hyper_util::rt::TokioIo;
use tokio::net::TcpSocket;
use tonic::transport::{Channel, Endpoint, Error};
use tonic::{Code, Streaming};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::program::{Server, simulated_broker};

/// The proxy's address, which `server.proxy_protocol_from` has.
const PROXY: &str = "127.0.2.1";
const ELSEWHERE: &str = "127.0.4.1";
const PER_ADDRESS: usize = 4;

/// Ways through haproxy, by the address from which it connects and what it sends.
const WAYS: [(&str, &str, &str); 3] = [
    ("proxied", PROXY, "send-proxy-v2 check check-send-proxy inter 100ms"),
    ("bare", PROXY, ""),
    ("elsewhere", ELSEWHERE, "send-proxy-v2"),
];

/// haproxy in TCP mode. It is stopped on drop.
struct Haproxy {
    child: Child,
    ways: Vec<SocketAddr>,
    directory: tempfile::TempDir,
}

impl Haproxy {
    /// Starts haproxy with sockets that listen already: connections wait until it is ready.
    fn start(broker: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sockets = WAYS.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let mut config = format!(
            "global\n stats socket {} level admin\ndefaults\n mode tcp\n timeout connect 10s\n timeout client 2m\n timeout server 2m\n",
            directory.path().join("stats").display()
        );
        for ((name, source, options), socket) in WAYS.into_iter().zip(&sockets) {
            let number = socket.as_raw_fd();
            rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::empty()).unwrap();
            write!(
                config,
                "listen {name}\n bind fd@{number}\n source {source}\n option httpchk\n http-check connect default proto h2\n \
                 http-check send meth POST uri /grpc.health.v1.Health/Check ver HTTP/2 hdr content-type application/grpc hdr te trailers\n \
                 http-check expect status 200\n server broker {broker} {options}\n"
            )
            .unwrap();
        }
        let file = directory.path().join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("haproxy");
        let child = command.arg("-db").arg("-f").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        Self { child, ways: sockets.iter().map(|socket| socket.local_addr().unwrap()).collect(), directory }
    }

    /// Waits until haproxy's health check has this result.
    fn until_checked(&self, result: &str) {
        loop {
            let state = stats(&self.directory.path().join("stats")).unwrap_or_default();
            if state.lines().any(|line| line.starts_with("proxied,broker,") && line.contains(result)) {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Connects from an address by a way, and calls without any proof. The broker's answer is `UNAUTHENTICATED`.
    async fn call(&self, way: usize, from: Ipv4Addr) -> (Result<Channel, Error>, Option<Code>) {
        let to = self.ways[way];
        let connector = tower::service_fn(move |_| async move {
            let socket = TcpSocket::new_v4()?;
            socket.bind((from, 0).into())?;
            socket.connect(to).await.map(TokioIo::new)
        });
        let channel = Endpoint::from_static("http://broker").connect_with_connector(connector).await;
        let code = match &channel {
            Ok(channel) => {
                let mut client = RegistryCredentialsServiceClient::new(channel.clone());
                client.get_caller_identity(GetCallerIdentityRequest {}).await.err().map(|status| status.code())
            }
            Err(_) => Some(Code::Unavailable),
        };
        (channel, code)
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Returns haproxy's statistics as CSV.
pub(crate) fn stats(socket: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(b"show stat\n")?;
    let mut state = String::new();
    stream.read_to_string(&mut state).map(|_| state)
}

/// A watch holds a connection open.
async fn watch(channel: Channel) -> Streaming<HealthCheckResponse> {
    let mut events = HealthClient::new(channel).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    events.message().await.unwrap();
    events
}

fn broker() -> (Server, SocketAddr) {
    let per_address = PER_ADDRESS.to_string();
    let environment = [
        ("ECR_BROKER_SERVER_PROXY_PROTOCOL_FROM", PROXY),
        ("ECR_BROKER_SERVER_MAX_CONNECTIONS_PER_ADDRESS", per_address.as_str()),
    ];
    let broker = simulated_broker(&[], &environment);
    let address = broker.address.strip_prefix("grpc://").unwrap().parse().unwrap();
    (broker, address)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs haproxy, which .ci/tools installs"]
async fn haproxy_names_its_clients_to_limits_and_log() {
    const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 7);
    const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 8);
    let (broker, address) = broker();
    let haproxy = Haproxy::start(address);
    let mut held = Vec::new();
    for _ in 0..PER_ADDRESS {
        let (channel, code) = haproxy.call(0, CLIENT).await;
        assert_eq!(code, Some(Code::Unauthenticated));
        held.push(watch(channel.unwrap()).await);
    }
    assert_ne!(haproxy.call(0, CLIENT).await.1, Some(Code::Unauthenticated), "one more of the address");
    let (channel, code) = haproxy.call(0, OTHER).await;
    assert_eq!(code, Some(Code::Unauthenticated), "another client of the same proxy");
    held.push(watch(channel.unwrap()).await);
    drop(held);
    drop(haproxy);
    let log = broker.stop();
    assert!(log.contains("\"127.0.3.7\"") && log.contains("\"127.0.3.8\""), "{log}");
    assert!(!log.contains("\"127.0.2.1\""), "{log}");
}

/// The header of a health check names no client (LOCAL).
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs haproxy, which .ci/tools installs"]
async fn haproxy_is_answered_with_its_header_only() {
    let (broker, address) = broker();
    let haproxy = Haproxy::start(address);
    haproxy.until_checked(",L7OK,200,");
    assert_eq!(haproxy.call(0, Ipv4Addr::LOCALHOST).await.1, Some(Code::Unauthenticated), "not a loopback caller");
    for (way, problem) in [(1, "no header from the proxy"), (2, "a header from elsewhere")] {
        let (_, code) = haproxy.call(way, Ipv4Addr::LOCALHOST).await;
        assert!(code.is_some_and(|code| code != Code::Unauthenticated), "{problem}: {code:?}");
    }
    broker.until_logged("connection closed: no PROXY protocol v2 header from server.proxy_protocol_from");
}
