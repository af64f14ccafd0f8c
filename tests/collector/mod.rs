//! An OTLP collector, over gRPC and over HTTP, in plaintext and with TLS.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "each test file uses a part"
)]

use std::path::Path;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status};

/// An OTLP collector that keeps every export.
#[derive(Debug, Clone, Default)]
pub struct Collector(Arc<Received>);

#[derive(Debug, Default)]
struct Received {
    spans: Mutex<Vec<ExportTraceServiceRequest>>,
    metrics: Mutex<Vec<ExportMetricsServiceRequest>>,
    /// The headers of each export of metrics.
    headers: Mutex<Vec<String>>,
    pushed: Notify,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.spans.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let headers = format!("{:?}", request.metadata());
        self.note_metrics(request.into_inner(), headers);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// What a collector speaks.
#[derive(Debug, Clone, Copy)]
enum Protocol {
    Grpc,
    Http,
}

impl Collector {
    /// Starts a collector for OTLP over gRPC and returns its endpoint.
    pub async fn over_grpc(&self) -> String {
        format!("http://127.0.0.1:{}", self.listen(Protocol::Grpc, None).await)
    }

    /// Starts a collector for OTLP over HTTP and returns its endpoint.
    pub async fn over_http(&self) -> String {
        format!("http://127.0.0.1:{}", self.listen(Protocol::Http, None).await)
    }

    /// Starts a collector with TLS, by the files of a certificate for `localhost` and its key, and returns its endpoint.
    pub async fn with_tls(&self, grpc: bool, (certificate, key): (&Path, &Path)) -> String {
        let protocol = if grpc { Protocol::Grpc } else { Protocol::Http };
        let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = versions.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.alpn_protocols = if grpc { vec![b"h2".to_vec()] } else { vec![b"http/1.1".to_vec()] };
        let port = self.listen(protocol, Some(TlsAcceptor::from(Arc::new(config)))).await;
        format!("https://localhost:{port}")
    }

    async fn listen(&self, protocol: Protocol, tls: Option<TlsAcceptor>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let collector = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (collector, tls) = (collector.clone(), tls.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else { return collector.serve(protocol, stream).await };
                    // A probe in plaintext is not a handshake.
                    let Ok(stream) = tls.accept(stream).await else { return };
                    collector.serve(protocol, stream).await;
                });
            }
        });
        port
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, protocol: Protocol, mut stream: S) {
        if let Protocol::Http = protocol {
            let Some((head, body)) = read_request(&mut stream).await else { return };
            self.note(&head, &body);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            _ = stream.shutdown().await;
            return;
        }
        let routes = tonic::service::Routes::new(TraceServiceServer::new(self.clone()));
        let routes = routes.add_service(MetricsServiceServer::new(self));
        let builder = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
        let service = hyper_util::service::TowerToHyperService::new(routes);
        _ = builder.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await;
    }

    /// Keeps a request over HTTP. The path that a proxy sees is a whole URL.
    fn note(&self, head: &str, body: &[u8]) {
        let path = head.split(' ').nth(1).unwrap();
        if path.ends_with("/v1/metrics") {
            self.note_metrics(ExportMetricsServiceRequest::decode(body).unwrap(), head.to_owned());
        } else if path.ends_with("/v1/traces") {
            self.0.spans.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
        }
    }

    fn note_metrics(&self, export: ExportMetricsServiceRequest, headers: String) {
        self.0.headers.lock().unwrap().push(headers);
        self.0.metrics.lock().unwrap().push(export);
        self.0.pushed.notify_waiters();
    }

    pub fn spans(&self) -> Vec<Span> {
        let exports = self.0.spans.lock().unwrap();
        let scopes = exports.iter().flat_map(|export| &export.resource_spans).flat_map(|spans| &spans.scope_spans);
        scopes.flat_map(|spans| spans.spans.clone()).collect()
    }

    /// Returns the metrics of each export.
    pub fn pushes(&self) -> Vec<Vec<Metric>> {
        let exports = self.0.metrics.lock().unwrap();
        let scopes = exports.iter().map(|export| export.resource_metrics.iter().flat_map(|it| &it.scope_metrics));
        scopes.map(|scopes| scopes.flat_map(|scope| scope.metrics.clone()).collect()).collect()
    }

    /// Waits for a number of exports of metrics.
    pub async fn until_pushed(&self, count: usize) {
        loop {
            let pushed = self.0.pushed.notified();
            if self.0.metrics.lock().unwrap().len() >= count {
                return;
            }
            pushed.await;
        }
    }

    /// Returns the headers of the exports of metrics.
    pub fn headers(&self) -> Vec<String> {
        self.0.headers.lock().unwrap().clone()
    }

    pub fn everything(&self) -> String {
        format!("{:?} {:?}", self.0.spans.lock().unwrap(), self.0.metrics.lock().unwrap())
    }
}

/// Reads a request; `None` if the peer closes the connection first.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&piece[..read]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        let body = &bytes[end + 4..];
        if body.len() >= length.unwrap_or(0) {
            return Some((head, body.to_vec()));
        }
    }
}
