//! A client whose requests are bytes, and the answers as they arrive.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Method, Request, Response};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::certificates::BROKER;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_mins(1);
/// Turns of the runtime after which the connection has sent what it has.
const TURNS: usize = 4;

/// A request as bytes.
#[derive(Debug, Clone)]
pub struct WireRequest {
    pub method: Method,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    /// The body, in DATA frames that are sent one after the other. The first one follows the headers at once.
    pub pieces: Vec<Bytes>,
    /// Whether the client leaves once the snapshot of a watch is complete.
    pub is_watch: bool,
}

/// What a request received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// The error with which the stream ended.
    pub reset: Option<String>,
}

/// A connection. A clone is another handle of it.
#[derive(Clone)]
pub struct Wire {
    send: SendRequest<Bytes>,
    driver: Arc<JoinHandle<()>>,
}

impl Wire {
    pub async fn over_tcp(address: std::net::SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream).await
    }

    pub async fn over_unix(path: &Path) -> Self {
        Self::over(UnixStream::connect(path).await.unwrap()).await
    }

    pub async fn over_tls(address: std::net::SocketAddr, config: ClientConfig) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from(BROKER).unwrap();
        Self::over(TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()).await
    }

    /// Connects as a client that takes no answer: it has no room for their messages.
    pub async fn without_room(path: &Path) -> Self {
        let stream = UnixStream::connect(path).await.unwrap();
        let (send, connection) = h2::client::Builder::new().initial_window_size(0).handshake(stream).await.unwrap();
        let driver = Arc::new(tokio::spawn(async { _ = connection.await }));
        Self { send, driver }
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        // It ends with its last handle, or by the broker.
        let driver = Arc::new(tokio::spawn(async { _ = connection.await }));
        Self { send, driver }
    }

    /// Returns whether the connection has not ended.
    pub fn is_open(&self) -> bool {
        !self.driver.is_finished()
    }

    /// Sends a request, and returns the whole answer.
    pub async fn call(self, request: WireRequest) -> Answer {
        timeout(PATIENCE, async { self.send(request).await.read().await }).await.expect("an answer")
    }

    /// Sends requests without a pause, so that the broker reads them together, and returns their answers.
    pub async fn call_together(self, requests: Vec<WireRequest>) -> Vec<Answer> {
        let answers = async {
            let mut sent = Vec::new();
            for request in requests {
                sent.push(self.clone().send(request).await);
            }
            join_all(sent.into_iter().map(Sent::read)).await
        };
        timeout(PATIENCE, answers).await.expect("answers")
    }

    /// Sends a request, and returns its answer, whose message it does not read.
    pub async fn call_unread(self, request: WireRequest) -> Response<RecvStream> {
        let answer = async { self.send(request).await.response.unwrap().await.unwrap() };
        timeout(PATIENCE, answer).await.expect("an answer")
    }

    async fn send(self, request: WireRequest) -> Sent {
        let WireRequest { method, path, headers, pieces, is_watch } = request;
        let uri = format!("http://broker{path}");
        let mut head = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            head = head.header(name, value);
        }
        let started = match self.send.ready().await {
            Ok(mut send) => send.send_request(head.body(()).unwrap(), pieces.is_empty()),
            Err(error) => Err(error),
        };
        let (response, mut stream) = match started {
            Ok(started) => started,
            Err(error) => return Sent { response: Err(error), is_watch },
        };
        let last = pieces.len().saturating_sub(1);
        for (number, piece) in pieces.into_iter().enumerate() {
            // A broker that has answered may have reset the stream.
            if stream.send_data(piece, number == last).is_err() {
                break;
            }
            if number < last {
                for _ in 0..TURNS {
                    tokio::task::yield_now().await;
                }
            }
        }
        Sent { response: Ok(response), is_watch }
    }
}

/// A request that was sent.
struct Sent {
    response: Result<ResponseFuture, h2::Error>,
    is_watch: bool,
}

impl Sent {
    async fn read(self) -> Answer {
        let response = match self.response {
            Ok(response) => response.await,
            Err(error) => Err(error),
        };
        match response {
            Ok(response) => read(response, self.is_watch).await,
            Err(error) => Answer { reset: Some(error.to_string()), ..Answer::default() },
        }
    }
}

async fn read(response: Response<RecvStream>, is_watch: bool) -> Answer {
    let (status, headers) = (response.status().as_u16(), sorted(response.headers()));
    let mut answer = Answer { status, headers, ..Answer::default() };
    let mut body = response.into_body();
    while let Some(piece) = body.data().await {
        match piece {
            Ok(piece) => {
                _ = body.flow_control().release_capacity(piece.len());
                answer.body.extend_from_slice(&piece);
            }
            Err(error) => return Answer { reset: Some(error.to_string()), ..answer },
        }
        if is_watch && ends_with_snapshot(&answer.body) {
            return answer;
        }
    }
    match body.trailers().await {
        Ok(trailers) => answer.trailers = trailers.as_ref().map(sorted).unwrap_or_default(),
        Err(error) => answer.reset = Some(error.to_string()),
    }
    answer
}

/// Returns whether the last message of a watch says that its snapshot is complete: field 5 of the event, which is empty.
fn ends_with_snapshot(body: &[u8]) -> bool {
    body.ends_with(&[0x2a, 0])
}

fn sorted(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut all: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    all.sort();
    all
}
