//! hyper's HTTP/2 server without tonic: the least that a gRPC response costs.

use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::address::Listener;
use crate::tls::Tls;

/// A response but for its headers.
#[derive(Debug, Clone)]
struct Answer {
    frame: Bytes,
    trailers: HeaderMap,
}

/// As many copies of the answer as requests choose from: what many answers cost the caches of the processor, whatever serves them.
#[derive(Debug)]
struct Answers {
    answers: Vec<Answer>,
    hasher: RandomState,
}

pub(crate) async fn serve(listener: Listener, tls: Option<&Tls>, message: &[u8], answers: usize) -> anyhow::Result<()> {
    let acceptor = tls.map(Tls::server).transpose()?.map(TlsAcceptor::from);
    let answers = (0..answers).map(|_| Answer::new(message)).collect::<anyhow::Result<_>>()?;
    let answers = Arc::new(Answers { answers, hasher: RandomState::new() });
    loop {
        let answers = Arc::clone(&answers);
        match (&listener, acceptor.clone()) {
            (Listener::Unix(listener, _), _) => {
                let (io, _) = listener.accept().await?;
                tokio::spawn(connection(io, answers));
            }
            (Listener::Tcp(listener), acceptor) => {
                let (io, _) = listener.accept().await?;
                io.set_nodelay(true)?;
                let Some(acceptor) = acceptor else {
                    tokio::spawn(connection(io, answers));
                    continue;
                };
                tokio::spawn(async move {
                    if let Ok(io) = acceptor.accept(io).await {
                        connection(io, answers).await;
                    }
                });
            }
        }
    }
}

impl Answers {
    /// Returns the answer to a request, by its hash: it looks nothing up, so that it is the least that one of many answers costs.
    fn to(&self, request: &[u8]) -> Answer {
        let [answer] = &*self.answers else {
            let index = usize::try_from(self.hasher.hash_one(request)).unwrap_or_default() % self.answers.len();
            return self.answers[index].clone();
        };
        answer.clone()
    }
}

impl Answer {
    fn new(message: &[u8]) -> anyhow::Result<Self> {
        let mut frame = BytesMut::with_capacity(5 + message.len());
        frame.put_u8(0);
        frame.put_u32(message.len().try_into()?);
        frame.put_slice(message);
        let trailers = [(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))].into_iter().collect();
        Ok(Self { frame: frame.freeze(), trailers })
    }

    fn body(self) -> impl Body<Data = Bytes, Error = Infallible> {
        Full::new(self.frame).with_trailers(async move { Some(Ok(self.trailers)) })
    }
}

/// Serves a connection to its end, which clients may bring about as they like.
async fn connection(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, answers: Arc<Answers>) {
    let service = service_fn(move |request| respond(request, Arc::clone(&answers)));
    _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), service).await;
}

async fn respond(
    request: Request<Incoming>,
    answers: Arc<Answers>,
) -> Result<Response<impl Body<Data = Bytes, Error = Infallible>>, hyper::Error> {
    let mut body = request.into_body();
    let mut message = Bytes::new();
    while let Some(frame) = body.frame().await {
        message = frame?.into_data().unwrap_or(message);
    }
    let mut response = Response::new(answers.to(&message).body());
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}
