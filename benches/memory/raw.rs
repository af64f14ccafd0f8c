//! The server to compare with: hyper alone, with a constant answer of the broker's size.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::combinators::WithTrailers;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tikv_jemalloc_ctl::{Access as _, AsName as _, background_thread};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use crate::client::Transport;
use crate::files;

/// Bytes of an answer with the credentials of the simulated AWS.
const ANSWER: usize = 2_400;

/// What follows the message of an answer.
type Trailers = Option<Result<HeaderMap, Infallible>>;

/// Serves until the process ends.
pub fn serve(transport: Transport, place: &Path) {
    // As the broker does.
    b"arenas.dirty_decay_ms\0".name().write(500_isize).unwrap();
    background_thread::write(true).unwrap();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(accept(transport, place));
}

async fn accept(transport: Transport, place: &Path) {
    if transport == Transport::Unix {
        let path = place.join("raw.sock");
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        println!("listening on unix:{}", path.display());
        loop {
            tokio::spawn(connection(listener.accept().await.unwrap().0));
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("listening on grpc://{}", listener.local_addr().unwrap());
    let acceptor = TlsAcceptor::from(files::server_tls(place));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            match transport {
                Transport::Tls => connection(acceptor.accept(stream).await.unwrap()).await,
                _ => connection(stream).await,
            }
        });
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    let service = service_fn(|request: http::Request<Incoming>| async move {
        request.into_body().collect().await.unwrap();
        Ok::<_, Infallible>(answer())
    });
    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

fn answer() -> Response<WithTrailers<Full<Bytes>, Ready<Trailers>>> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let body = Full::from(vec![0; ANSWER]).with_trailers(ready(Some(Ok(trailers))));
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}
