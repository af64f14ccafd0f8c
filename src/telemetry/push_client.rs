//! Sends one export of metrics, over gRPC or HTTP. Cumulative figures need no retry: the next export holds what this one would have.

use std::error::Error;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use prost::Message as _;
use reqwest::Url;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};

use super::export::Export;
use super::http_client;

const NAME: &str = concat!("ecr-broker/", env!("CARGO_PKG_VERSION"));
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
/// Longest answer over HTTP that is read.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// A client of one collector. A clone shares its connections.
#[derive(Debug, Clone)]
pub(super) enum PushClient {
    Grpc { client: MetricsServiceClient<Channel>, headers: HeaderMap },
    Http { client: reqwest::Client, url: Url, headers: HeaderMap },
}

impl PushClient {
    /// Returns a client that connects with the first export. Must be called inside the runtime.
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
        let channel = endpoint.timeout(export.timeout).connect_timeout(export.timeout).connect_lazy();
        Ok(Self::Grpc { client: MetricsServiceClient::new(channel), headers })
    }

    /// Sends an export, and returns why the collector did not take all of it.
    pub(super) async fn send(&self, request: ExportMetricsServiceRequest) -> Result<(), String> {
        let response = match self.clone() {
            Self::Grpc { client, headers } => over_grpc(client, headers, request).await?,
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
    mut client: MetricsServiceClient<Channel>,
    headers: HeaderMap,
    request: ExportMetricsServiceRequest,
) -> Result<ExportMetricsServiceResponse, String> {
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
