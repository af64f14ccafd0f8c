//! Sends one export of metrics, over gRPC or HTTP. Cumulative figures need no retry: the next export holds what this one would have.
//!
//! Each export has a new connection: one whose peer has vanished would fail exports until the kernel gives it up, after a
//! quarter of an hour. It also reaches the present address of the collector.

use std::error::Error;
use std::fmt;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use prost::Message as _;
use reqwest::Url;
use tonic::metadata::MetadataMap;
use tonic::transport::Endpoint;

use super::export::Export;
use super::http_client;

const NAME: &str = concat!("ecr-broker/", env!("CARGO_PKG_VERSION"));
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
/// Longest answer over HTTP that is read.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// A client of one collector. The URL and the headers may hold secrets, so they are not printed.
#[derive(Clone)]
pub(super) enum PushClient {
    Grpc { endpoint: Box<Endpoint>, headers: HeaderMap },
    Http { client: reqwest::Client, url: Url, headers: HeaderMap },
}

impl fmt::Debug for PushClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushClient").finish_non_exhaustive()
    }
}

impl PushClient {
    /// Returns a client that connects with each export.
    pub(super) fn new(export: &Export) -> anyhow::Result<Self> {
        let mut headers = export.headers.clone();
        if !export.grpc {
            headers.insert(CONTENT_TYPE, PROTOBUF);
            headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(NAME));
            return Ok(Self::Http { client: http_client::new(export)?, url: export.url.clone(), headers });
        }
        let unusable = "OTEL_EXPORTER_OTLP_ENDPOINT: the exporter of metrics cannot use the value; correct it";
        let endpoint = Endpoint::from_shared(export.url.to_string()).context(unusable)?.user_agent(NAME)?;
        let endpoint = if export.url.scheme() == "https" {
            endpoint
                .tls_config(export.tls.for_grpc())
                .context("OTEL_EXPORTER_OTLP_CERTIFICATE: TLS cannot start; correct the file")?
        } else {
            endpoint
        };
        let endpoint = Box::new(endpoint.timeout(export.timeout).connect_timeout(export.timeout));
        Ok(Self::Grpc { endpoint, headers })
    }

    /// Sends an export, and returns why the collector did not take all of it.
    pub(super) async fn send(&self, request: ExportMetricsServiceRequest) -> Result<(), String> {
        let response = match self.clone() {
            Self::Grpc { endpoint, headers } => over_grpc(&endpoint, headers, request).await?,
            Self::Http { client, url, headers } => over_http(&client, url, headers, &request).await?,
        };
        match response.partial_success.filter(|partial| partial.rejected_data_points > 0) {
            None => Ok(()),
            Some(partial) => {
                let (count, message) = (partial.rejected_data_points, partial.error_message);
                Err(format!("the collector rejected {count} data points: {message}"))
            }
        }
    }
}

async fn over_grpc(
    endpoint: &Endpoint,
    headers: HeaderMap,
    request: ExportMetricsServiceRequest,
) -> Result<ExportMetricsServiceResponse, String> {
    let mut client = MetricsServiceClient::new(endpoint.connect_lazy());
    let mut request = tonic::Request::new(request);
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    let response = client.export(request).await;
    response.map(tonic::Response::into_inner).map_err(|status| format!("{:?}: {}", status.code(), status.message()))
}

async fn over_http(
    client: &reqwest::Client,
    url: Url,
    headers: HeaderMap,
    request: &ExportMetricsServiceRequest,
) -> Result<ExportMetricsServiceResponse, String> {
    let request = client.post(url).headers(headers).body(request.encode_to_vec());
    let mut response = request.send().await.map_err(with_causes)?;
    if !response.status().is_success() {
        return Err(format!("HTTP status {}", response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(with_causes)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_RESPONSE_BYTES {
            return Err(format!("the answer is longer than {MAX_RESPONSE_BYTES} bytes"));
        }
    }
    // A body that is not the message of OTLP holds no rejection.
    Ok(ExportMetricsServiceResponse::decode(Bytes::from(body)).unwrap_or_default())
}

/// Returns an error with its causes, and without the URL, which may hold a password.
fn with_causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicBool, Ordering};

    use hyper_util::rt::{TokioExecutor, TokioIo};
    use hyper_util::service::TowerToHyperService;
    use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
        MetricsService, MetricsServiceServer,
    };
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tonic::{Request, Response, Status};

    use super::super::metrics::Signal;
    use super::super::variables::Variables;
    use super::*;

    /// A connection that answers its first request, and then nothing.
    #[derive(Default)]
    struct Once(AtomicBool);

    #[tonic::async_trait]
    impl MetricsService for Once {
        async fn export(
            &self,
            _: Request<ExportMetricsServiceRequest>,
        ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
            if self.0.swap(true, Ordering::Relaxed) {
                pending().await
            } else {
                Ok(Response::new(ExportMetricsServiceResponse::default()))
            }
        }
    }

    async fn serve(mut stream: TcpStream, grpc: bool) {
        if grpc {
            let routes = tonic::service::Routes::new(MetricsServiceServer::new(Once::default()));
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            _ = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).await;
            return;
        }
        let mut bytes = [0; 4096];
        assert_ne!(stream.read(&mut bytes).await.expect("a request"), 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("answered");
        while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
    }

    #[tokio::test]
    async fn vanished_connection_does_not_fail_the_next_export() {
        for (protocol, grpc) in [("grpc", true), ("http/protobuf", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
            let url = format!("http://user:secret@{}", listener.local_addr().expect("an address"));
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, grpc));
                }
            });
            let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
            let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let export = Export::read(Signal::Metrics, &Variables::new(&variables)).expect("valid");
            let client = PushClient::new(&export).expect("a client");
            assert!(!format!("{client:?}").contains("secret"));
            for _ in 0..2 {
                assert_eq!(client.send(ExportMetricsServiceRequest::default()).await, Ok(()), "{protocol}");
            }
        }
    }
}
