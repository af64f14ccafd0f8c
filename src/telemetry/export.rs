//! Where and how a signal is sent to its collector: endpoint, protocol, headers, timeout, TLS and proxy.

use std::fmt;
use std::time::Duration;

use anyhow::{anyhow, bail};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::collector::Collector;
use super::metrics::Signal;
use super::tls::Tls;
use super::variables::{Variables, millis};
use crate::proxy::Proxies;

/// Default of `OTEL_EXPORTER_OTLP_TIMEOUT`.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where and how a signal is sent. The endpoint and the headers may hold secrets, so they are not printed.
pub(super) struct Export {
    pub(super) signal: Signal,
    /// The URL of requests. For spans the exporter reads it itself.
    pub(super) url: Url,
    /// Whether to export over gRPC rather than HTTP.
    pub(super) grpc: bool,
    /// The configured headers, which often hold keys. For spans the exporter reads them itself.
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
    pub(super) tls: Tls,
    /// The proxies of exports over HTTP. gRPC uses none.
    pub(super) proxies: Proxies,
    /// Where exports go, for log lines.
    pub(super) collector: Collector,
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("signal", &self.signal)
            .field("collector", &self.collector)
            .finish_non_exhaustive()
    }
}

impl Export {
    /// Reads the variables of a signal.
    pub(super) fn read(signal: Signal, variables: &Variables<'_>) -> anyhow::Result<Self> {
        let endpoint = variables.of_signal(signal, "ENDPOINT");
        let grpc = is_grpc(variables.of_signal(signal, "PROTOCOL"), endpoint.as_ref().map(|(_, endpoint)| *endpoint))?;
        let insecure = variables.of_signal(signal, "INSECURE").is_some_and(|(_, it)| it.eq_ignore_ascii_case("true"));
        let url = url(signal, endpoint, grpc, if insecure { "http" } else { "https" })?;
        let timeout = variables.of_signal(signal, "TIMEOUT");
        let timeout = timeout.map(|(name, value)| millis(&name, value, &(1..=600_000))).transpose()?;
        // A variable that cannot be used is an error of the configuration, which was reported.
        let (proxies, _) = Proxies::read(|name| variables.get(name).map(Into::into));
        Ok(Self {
            signal,
            grpc,
            headers: headers(variables.of_signal(signal, "HEADERS"))?,
            timeout: timeout.unwrap_or(TIMEOUT),
            tls: Tls::read(signal, variables)?,
            collector: Collector::new(&url, grpc, &proxies),
            proxies,
            url,
        })
    }

    /// Returns whether neither the collector nor the proxy before it is reached over TLS.
    pub(super) fn is_plaintext(&self) -> bool {
        let proxy = self.url.as_str().parse().ok().and_then(|url| self.proxies.for_url(&url));
        self.url.scheme() == "http" && proxy.is_none_or(|proxy| proxy.as_str().starts_with("http:"))
    }
}

/// Returns whether to export over gRPC. The standard's default is HTTP, but port 4317 is gRPC by the same standard, and many operators
/// set that port without a protocol.
fn is_grpc(protocol: Option<(String, &str)>, endpoint: Option<&str>) -> anyhow::Result<bool> {
    match protocol {
        Some((_, "grpc")) => Ok(true),
        Some((_, "http/protobuf")) => Ok(false),
        Some((name, other)) => bail!("{name}: unknown protocol {other:?}; use grpc or http/protobuf"),
        None => Ok(endpoint.is_some_and(|endpoint| endpoint.trim_end_matches('/').ends_with(":4317"))),
    }
}

/// Returns the URL of requests over HTTP, or the address of the gRPC service. An endpoint of all signals gets the path of the signal;
/// the signal's own is used as it is. gRPC's may have no scheme; then it has that of `OTEL_EXPORTER_OTLP_INSECURE`.
fn url(signal: Signal, endpoint: Option<(String, &str)>, grpc: bool, scheme: &str) -> anyhow::Result<Url> {
    let default = if grpc { "http://localhost:4317" } else { "http://localhost:4318" };
    let (name, text) = endpoint.unwrap_or_else(|| ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), default));
    let is_own = name != "OTEL_EXPORTER_OTLP_ENDPOINT";
    // The error does not show the value, which may hold a password.
    let invalid = || anyhow!("{name}: the endpoint is not a URL; write http://HOST:PORT or https://HOST:PORT");
    let has_scheme = !grpc || text.contains("://");
    let parsed = if has_scheme { text.parse() } else { format!("{scheme}://{text}").parse() };
    let mut url: Url = parsed.map_err(|_| invalid())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(invalid());
    }
    if !grpc && !is_own {
        let path = format!("{}/v1/{}", url.path().trim_end_matches('/'), signal.text());
        url.set_path(&path);
    }
    Ok(url)
}

/// Reads `name=value,name=value`, the values percent-encoded.
fn headers(variable: Option<(String, &str)>) -> anyhow::Result<HeaderMap> {
    let Some((variable, list)) = variable else { return Ok(HeaderMap::new()) };
    let header = |item: &str| {
        let (name, value) = item.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
    };
    let items = list.split(',').filter(|item| !item.trim().is_empty());
    let headers: Option<HeaderMap> = items.map(header).collect();
    headers.ok_or_else(|| anyhow!("{variable}: expected NAME=VALUE,NAME=VALUE with percent-encoded values; correct it"))
}

#[cfg(test)]
mod tests;
