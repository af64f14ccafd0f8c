//! A gRPC client on h2 alone: it does little, so that it leaves the machine to the server.

use std::sync::Arc;

use anyhow::ensure;
use bytes::{BufMut as _, Bytes, BytesMut};
use ecr_broker::pb::GetRegistryCredentialsRequest;
use ecr_broker::pb::get_registry_credentials_request::Target;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong, RecvStream};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, Request};
use prost::Message as _;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::address::Address;
use crate::tls::{SERVER_NAME, Tls};

const METHOD: &str = "http://localhost/ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials";
/// The first registry is of the account after this one.
const ACCOUNTS: u64 = 100_000_000_000;
/// So large that the client hardly ever sends a window update.
const WINDOW: u32 = (1 << 31) - 1;
const GRPC_HEAD: usize = 5;
/// Calls ask for every so many-th registry. It is a prime, so that all have their turn.
const STRIDE: usize = 7_919;

/// What all connections to a server share.
#[derive(Debug)]
pub(crate) struct Client {
    address: Address,
    tls: Option<Arc<ClientConfig>>,
    head: Request<()>,
    /// A request for each registry.
    frames: Vec<Bytes>,
}

#[derive(Debug)]
pub(crate) struct Connection<'a> {
    client: &'a Client,
    sender: SendRequest<Bytes>,
    ping: Option<PingPong>,
    task: JoinHandle<()>,
}

impl Client {
    pub(crate) fn new(address: Address, tls: Option<&Tls>, registries: u64) -> anyhow::Result<Self> {
        let head = Request::post(METHOD).header(CONTENT_TYPE, "application/grpc").header(TE, "trailers");
        let head = head.header(USER_AGENT, "hit/1").body(())?;
        let frames = (1..=registries).map(|number| frame(ACCOUNTS + number)).collect::<anyhow::Result<_>>()?;
        Ok(Self { address, tls: tls.map(Tls::client).transpose()?, head, frames })
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<Connection<'_>> {
        match (&self.address, &self.tls) {
            (Address::Unix(path), _) => self.handshake(UnixStream::connect(path).await?).await,
            (Address::Tcp(address), tls) => {
                let io = TcpStream::connect(address).await?;
                io.set_nodelay(true)?;
                let Some(tls) = tls else { return self.handshake(io).await };
                let connector = TlsConnector::from(Arc::clone(tls));
                self.handshake(connector.connect(SERVER_NAME.try_into()?, io).await?).await
            }
        }
    }

    async fn handshake(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> anyhow::Result<Connection<'_>> {
        let mut builder = Builder::new();
        builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let (sender, mut connection) = builder.handshake(io).await?;
        let ping = connection.ping_pong();
        // A connection that fails fails its calls.
        let task = tokio::spawn(async move { _ = connection.await });
        Ok(Connection { client: self, sender, ping, task })
    }
}

impl Connection<'_> {
    /// Waits until both sides know each other's settings, so that a burst of calls does not delay them.
    pub(crate) async fn settle(&mut self) -> anyhow::Result<()> {
        if let Some(ping) = &mut self.ping {
            ping.ping(Ping::opaque()).await?;
        }
        Ok(())
    }

    /// Asks for one of the registries in turn, and returns the message of the answer.
    pub(crate) async fn call(&self, number: usize) -> anyhow::Result<Bytes> {
        let frame = &self.client.frames[number * STRIDE % self.client.frames.len()];
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut body) = sender.send_request(self.client.head.clone(), false)?;
        body.send_data(frame.clone(), true)?;
        let (head, body) = response.await?.into_parts();
        read(&head.headers, body).await
    }

    /// Closes the connection.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        drop(self.sender);
        Ok(self.task.await?)
    }
}

/// Returns the message of a response. One that failed has its status in the headers alone.
async fn read(headers: &HeaderMap, mut body: RecvStream) -> anyhow::Result<Bytes> {
    let mut message = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        message.put(data);
    }
    let trailers = body.trailers().await?;
    let end = trailers.as_ref().unwrap_or(headers);
    let is_ok = end.get("grpc-status").is_some_and(|status| status == "0");
    ensure!(is_ok && message.len() > GRPC_HEAD, "call failed: {end:?}; see the server's log");
    Ok(message.split_off(GRPC_HEAD).freeze())
}

fn frame(account: u64) -> anyhow::Result<Bytes> {
    let target = Target::Registry(format!("{account}.dkr.ecr.eu-central-1.amazonaws.com"));
    let message = GetRegistryCredentialsRequest { target: Some(target), ..Default::default() };
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.encoded_len().try_into()?);
    message.encode(&mut frame)?;
    Ok(frame.freeze())
}
