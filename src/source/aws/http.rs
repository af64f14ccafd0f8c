//! HTTP client for all calls to AWS, with a limit of the response size.

use std::path::Path;

use anyhow::anyhow;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use http::Uri;
use http::uri::Scheme;
use http_body_util::Limited;

use super::ca_bundle;
use super::endpoint_url::is_on_link;
use crate::proxy::{Proxies, ProxyUrl};

/// Maximum size of a response. A token has 5 KB today, and a response contains one.
const MAX_RESPONSE_BYTES: usize = 256 * 1024;

/// Sends calls through the environment's proxies, except to hosts of `NO_PROXY`, on this machine or on its link.
///
/// IMDS and the container credential endpoints are on the link. They return the broker's own identity in plaintext, and no proxy may
/// read it.
#[derive(Debug)]
struct Client {
    proxies: Proxies,
    direct: SharedHttpClient,
    http_proxied: Option<SharedHttpClient>,
    https_proxied: Option<SharedHttpClient>,
}

/// The connectors of [`Client`].
#[derive(Debug)]
struct Route {
    proxies: Proxies,
    direct: SharedHttpConnector,
    http_proxied: Option<SharedHttpConnector>,
    https_proxied: Option<SharedHttpConnector>,
}

/// Returns the HTTP client that all SDK clients share. Otherwise each client would load the root certificates and keep its own
/// connections.
///
/// `ca_bundle` replaces the system's roots, as `AWS_CA_BUNDLE` does in AWS's own tools. The Rust SDK ignores that variable.
pub(super) fn client(ca_bundle: Option<&Path>, proxies: &Proxies) -> anyhow::Result<SharedHttpClient> {
    let tls = tls(ca_bundle)?;
    let through = |proxy: &ProxyUrl| {
        // The error may show the URL, which may contain a password.
        let proxy = ProxyConfig::all(proxy.as_str()).map_err(|_| anyhow!("the proxy's URL cannot be used"))?;
        anyhow::Ok(with_proxy(tls.clone(), proxy))
    };
    Ok(SharedHttpClient::new(Client {
        proxies: proxies.clone(),
        direct: with_proxy(tls.clone(), ProxyConfig::disabled()),
        http_proxied: proxies.http().map(through).transpose()?,
        https_proxied: proxies.https().map(through).transpose()?,
    }))
}

/// Builds a client with a proxy and one connection pool for all settings. Only this hidden function of the SDK offers both.
fn with_proxy(tls: TlsContext, proxy: ProxyConfig) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(tls.clone())
            .proxy_config(proxy.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.build()
    })
}

fn tls(ca_bundle: Option<&Path>) -> anyhow::Result<TlsContext> {
    let roots = match ca_bundle {
        None => TrustStore::default(),
        Some(path) => TrustStore::empty().with_pem_certificate(ca_bundle::read(path)?),
    };
    Ok(TlsContext::builder().with_trust_store(roots).build()?)
}

/// Omits the validation of the SDK's own implementation, which loads the root certificates for each new SDK client.
impl HttpClient for Client {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let connector = |client: &SharedHttpClient| client.http_connector(settings, components);
        SharedHttpConnector::new(Route {
            proxies: self.proxies.clone(),
            direct: connector(&self.direct),
            http_proxied: self.http_proxied.as_ref().map(connector),
            https_proxied: self.https_proxied.as_ref().map(connector),
        })
    }
}

impl HttpConnector for Route {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        request.uri().parse().ok().and_then(|uri| self.proxied(&uri)).unwrap_or(&self.direct).call(request)
    }
}

impl Route {
    /// Returns the connector through the URL's proxy, if it has one.
    fn proxied(&self, uri: &Uri) -> Option<&SharedHttpConnector> {
        let is_local = uri.host().is_some_and(is_on_link);
        self.proxies.for_url(uri).filter(|_| !is_local)?;
        if uri.scheme() == Some(&Scheme::HTTPS) { self.https_proxied.as_ref() } else { self.http_proxied.as_ref() }
    }
}

/// Limits the size of a response, so that a broken upstream cannot fill the broker's memory.
#[derive(Debug)]
pub(super) struct ResponseLimit;

impl Intercept for ResponseLimit {
    fn name(&self) -> &'static str {
        "ResponseLimit"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().body_mut();
        let unlimited = std::mem::replace(body, SdkBody::taken());
        *body = SdkBody::from_body_1_x(Limited::new(unlimited, MAX_RESPONSE_BYTES));
        Ok(())
    }
}
