//! A client with one connection, by hyper alone.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::files;

/// Account that the connections request.
pub const ACCOUNT: &str = "123456789012";

/// How a client reaches a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Unix,
    Tls,
}

/// An address with what is needed to reach it.
pub struct Target {
    transport: Transport,
    address: String,
    tls: Arc<ClientConfig>,
}

/// A connection that is open until it is dropped.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    connection: JoinHandle<()>,
}

impl Transport {
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Unix, Self::Tls];

    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Unix => "unix",
            Self::Tls => "mtls",
        }
    }

    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|transport| transport.name() == name).unwrap()
    }
}

impl Target {
    /// Returns the target at a URL that a server printed.
    pub fn new(transport: Transport, url: &str, place: &Path) -> Self {
        let (_, address) = url.split_once(':').unwrap();
        Self { transport, address: address.trim_start_matches("//").to_owned(), tls: files::client_tls(place) }
    }

    pub async fn connect(&self) -> Client {
        match self.transport {
            Transport::Unix => Client::over(UnixStream::connect(&self.address).await.unwrap()).await,
            Transport::Tcp => Client::over(self.tcp().await).await,
            Transport::Tls => {
                let name = ServerName::try_from("localhost").unwrap();
                let connector = TlsConnector::from(Arc::clone(&self.tls));
                Client::over(connector.connect(name, self.tcp().await).await.unwrap()).await
            }
        }
    }

    async fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }
}

impl Client {
    async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { sender, connection }
    }

    /// Requests the credentials of an account's registry and reads the answer to its end.
    pub async fn get(&mut self, account: &str) {
        let response = self.sender.send_request(request(account)).await.unwrap();
        let answer = response.into_body().collect().await.unwrap();
        let status = answer.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
        assert_eq!(status.as_ref().map(http::HeaderValue::as_bytes), Some(&b"0"[..]), "the request failed");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn request(account: &str) -> Request<Full<Bytes>> {
    let registry = format!("{account}.dkr.ecr.eu-central-1.amazonaws.com");
    let length = u8::try_from(registry.len()).unwrap();
    let message = [&[0, 0, 0, 0, length + 2, 0x0a, length], registry.as_bytes()].concat();
    let uri = "http://localhost/ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials";
    let request = Request::builder().method(Method::POST).uri(uri).header("content-type", "application/grpc");
    request.header("te", "trailers").body(Full::from(message)).unwrap()
}
