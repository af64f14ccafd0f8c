//! AWS's API and its registries over TLS, by their own host names, behind an HTTP proxy that reaches them.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "each test file uses a part"
)]

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use data_encoding::{BASE64, HEXLOWER};
use ecr_broker::clock::{Clock as _, SystemClock};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::certificates::{self, Authority, Pair};

const NAMES: [&str; 4] = [
    "api.ecr.eu-central-1.amazonaws.com",
    "sts.eu-central-1.amazonaws.com",
    "*.dkr.ecr.eu-central-1.amazonaws.com",
    "elsewhere.example",
];
/// An answer that never comes.
const HANG: &str = "hang";

pub struct RegistryOverTls {
    pub authority: Authority,
    /// The URL of the proxy.
    pub proxy: String,
    state: Arc<Mutex<State>>,
    _directory: tempfile::TempDir,
}

#[derive(Default)]
struct State {
    /// The ports on loopback of registries that others run, by their hosts.
    ports: HashMap<String, u16>,
    /// The password of all tokens; `None`: each has its own.
    password: Option<String>,
    answers: HashMap<String, VecDeque<String>>,
    asked: HashMap<String, Vec<String>>,
    issued: Vec<String>,
}

/// The head of a request.
struct Head {
    method: String,
    host: String,
    authorization: String,
}

impl RegistryOverTls {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path(), "aws-ca.pem", "aws");
        let mut params = certificates::leaf(&NAMES.map(certificates::dns));
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let tls = tls(&authority.sign(&params));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (tls, state) = (Arc::clone(&tls), Arc::clone(&shared));
                std::thread::spawn(move || serve(stream, tls, &state));
            }
        });
        Self { authority, proxy, state, _directory: directory }
    }

    /// Scripts the answers of a registry to `GET /v2/`: each once, then 200.
    pub fn answer(&self, host: &str, answers: &[&str]) {
        let answers = answers.iter().map(|answer| (*answer).to_owned()).collect();
        self.state.lock().unwrap().answers.insert(host.to_owned(), answers);
    }

    /// Has the proxy reach a registry at a port of loopback, instead of the scripted one.
    pub fn reach(&self, host: &str, port: u16) {
        self.state.lock().unwrap().ports.insert(host.to_owned(), port);
    }

    /// Sets the password of the tokens that AWS issues from now on.
    pub fn issue(&self, password: &str) {
        self.state.lock().unwrap().password = Some(password.to_owned());
    }

    /// Returns the Authorization headers that a registry received.
    pub fn asked_of(&self, host: &str) -> Vec<String> {
        self.state.lock().unwrap().asked.get(host).cloned().unwrap_or_default()
    }

    /// Returns every password that AWS issued.
    pub fn issued(&self) -> Vec<String> {
        self.state.lock().unwrap().issued.clone()
    }
}

fn serve(mut stream: TcpStream, tls: Arc<ServerConfig>, state: &Mutex<State>) -> Option<()> {
    // The client sends nothing after CONNECT until it has the answer.
    let connect = head(&mut stream)?;
    assert_eq!(connect.method, "CONNECT");
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    let port = state.lock().unwrap().ports.get(connect.host.split(':').next()?).copied();
    if let Some(port) = port {
        return forward(stream, port);
    }
    let mut stream = StreamOwned::new(ServerConnection::new(tls).unwrap(), stream);
    let request = head(&mut stream)?;
    let answer = if request.method == "POST" { token(state) } else { of_registry(&request, state) };
    if answer == HANG {
        std::thread::sleep(Duration::from_secs(10));
        return None;
    }
    stream.write_all(answer.as_bytes()).ok()?;
    stream.flush().ok()
}

/// Forwards both directions of a connection until they end.
fn forward(client: TcpStream, port: u16) -> Option<()> {
    let server = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let (mut from_client, mut to_server) = (client.try_clone().ok()?, server.try_clone().ok()?);
    std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
    let (mut from_server, mut to_client) = (server, client);
    std::io::copy(&mut from_server, &mut to_client).ok().map(drop)
}

/// Reads a request with its body.
fn head(stream: &mut impl Read) -> Option<Head> {
    let mut reader = BufReader::with_capacity(1, stream);
    let lines = reader.by_ref().lines().map_while(Result::ok);
    let lines: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let header = |name: &str| {
        let found = lines.iter().filter_map(|line| line.split_once(": ")).find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    let length = header("content-length").parse().unwrap_or(0_u64);
    reader.take(length).read_to_end(&mut Vec::new()).ok()?;
    let method = lines.first()?.split(' ').next()?.to_owned();
    Some(Head { method, host: header("host"), authorization: header("authorization") })
}

fn of_registry(request: &Head, state: &Mutex<State>) -> String {
    let mut state = state.lock().unwrap();
    state.asked.entry(request.host.clone()).or_default().push(request.authorization.clone());
    let answer = state.answers.get_mut(&request.host).and_then(VecDeque::pop_front);
    match answer.unwrap_or_else(|| "200 OK".to_owned()) {
        answer if answer == HANG => answer,
        answer if answer.contains("content-length") => format!("HTTP/1.1 {answer}\r\n\r\n"),
        answer => format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    }
}

fn token(state: &Mutex<State>) -> String {
    let mut random = [0; 40];
    fastrand::fill(&mut random);
    let fixed = state.lock().unwrap().password.clone();
    let password = fixed.unwrap_or_else(|| HEXLOWER.encode(&random));
    let token = BASE64.encode(format!("AWS:{password}").as_bytes());
    state.lock().unwrap().issued.extend([password, token.clone()]);
    let since_1970 = SystemClock::new().now().wall.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let expires = (since_1970 + Duration::from_hours(12)).as_secs();
    let body = format!(r#"{{"authorizationData":[{{"authorizationToken":"{token}","expiresAt":{expires}}}]}}"#);
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn tls(pair: &Pair) -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(versions.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap())
}
