//! The one HTTP client under every call to AWS, and how much of an answer it reads.

use std::net::IpAddr;
use std::path::Path;

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
use http_body_util::Limited;

use super::ca_bundle;

/// The largest answer that is read: a token is 5 KB today, and an answer holds one.
const LARGEST_ANSWER: usize = 256 * 1024;

/// Takes the environment's proxy to AWS, and none to what is on this host or its link.
///
/// IMDS and the container credential endpoints are there, and what they answer is the broker's own identity, in the clear.
#[derive(Debug)]
struct Client {
    direct: SharedHttpClient,
    proxied: SharedHttpClient,
}

/// The same of one connector.
#[derive(Debug)]
struct Route {
    direct: SharedHttpConnector,
    proxied: SharedHttpConnector,
}

/// A client to be shared by every SDK client: each would otherwise make connections, and load the roots, of its own.
///
/// `ca_bundle` takes the place of the system's roots, as `AWS_CA_BUNDLE` does for AWS's own tools; the Rust SDK does not read it.
pub(super) fn client(ca_bundle: Option<&Path>) -> anyhow::Result<SharedHttpClient> {
    let tls = tls(ca_bundle)?;
    let direct = connecting(tls.clone(), ProxyConfig::disabled());
    let proxied = connecting(tls, ProxyConfig::from_env());
    Ok(SharedHttpClient::new(Client { direct, proxied }))
}

/// The hidden function is the only one that takes a proxy and still keeps one connection pool for all settings.
fn connecting(tls: TlsContext, proxy: ProxyConfig) -> SharedHttpClient {
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

/// Without the check that comes with a new SDK client, which would load the roots for every one of them.
impl HttpClient for Client {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Route {
            direct: self.direct.http_connector(settings, components),
            proxied: self.proxied.http_connector(settings, components),
        })
    }
}

impl HttpConnector for Route {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let uri: Option<http::Uri> = request.uri().parse().ok();
        let near = uri.as_ref().and_then(http::Uri::host).is_some_and(is_near);
        if near { self.direct.call(request) } else { self.proxied.call(request) }
    }
}

/// Whether a host is this one, or on its link, where IMDS and its like are.
fn is_near(host: &str) -> bool {
    match host.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        // fd00:ec2::/32 is where AWS has its link-local services in IPv6.
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.is_unicast_link_local() || address.segments()[..2] == [0xfd00, 0xec2]
        }
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Ends the reading of an answer that is too large, so that an upstream gone wrong cannot fill the broker's memory.
#[derive(Debug)]
pub(super) struct LimitAnswer;

impl Intercept for LimitAnswer {
    fn name(&self) -> &'static str {
        "LimitAnswer"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().body_mut();
        let unlimited = std::mem::replace(body, SdkBody::taken());
        *body = SdkBody::from_body_1_x(Limited::new(unlimited, LARGEST_ANSWER));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_this_host_or_its_link_is_near() {
        for near in
            ["localhost", "127.0.0.1", "[::1]", "169.254.169.254", "169.254.170.2", "[fd00:ec2::254]", "[fe80::1]"]
        {
            assert!(is_near(near), "{near}");
        }
        for far in ["api.ecr.eu-central-1.amazonaws.com", "10.0.0.5", "[fd00::1]", "localhost.example", "192.0.2.1"] {
            assert!(!is_near(far), "{far}");
        }
    }
}
